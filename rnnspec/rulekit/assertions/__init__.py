"""Assertions of rules: about results, gradients, and relations between calls.

Use them instead of your own comparisons: they know the bounds, and they raise a Violation with the
first wrong element and the lines of a program.
"""
