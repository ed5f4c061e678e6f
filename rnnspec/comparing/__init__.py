"""The comparison of two modules that are called in the same way: a reference, and its candidate.

If you look for the reason of a finding, start at `comparison`, which runs the parts in order.
"""
