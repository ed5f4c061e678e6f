"""Adapters: how a layer with other names, layouts and states stands in for the documented one."""
