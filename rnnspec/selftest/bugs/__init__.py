"""The planted bugs, with a module for each theme."""
