"""The bank of planted bugs, one module a theme."""
