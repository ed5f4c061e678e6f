"""Raises KeyboardInterrupt on import."""

raise KeyboardInterrupt
