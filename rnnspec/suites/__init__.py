"""Suites, which the engine runs for a layer or a model."""
