"""The contracts as pytest tests, one id per rule."""
