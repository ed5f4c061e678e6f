"""Adapters for layers of other libraries; install the extra of the same name to use a module."""
