"""Adapters: use a layer with other names, layouts and states in place of the documented layer."""
