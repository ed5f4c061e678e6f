"""Check contracts as pytest tests, with a test id for each rule."""
