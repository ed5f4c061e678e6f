"""The planted bugs, one module for each theme."""
