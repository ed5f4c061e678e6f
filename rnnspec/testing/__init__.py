"""Check contracts as pytest tests: one test id per rule."""
