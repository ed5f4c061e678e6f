"""Assertions of rules: about results, gradients, and relations between calls."""
