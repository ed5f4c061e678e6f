"""Suites: what the engine runs, for a layer or for a model."""
