"""Infer the adapter of a layer: the names of its weights, and how to call it."""
