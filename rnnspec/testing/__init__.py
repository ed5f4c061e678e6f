"""The contracts as pytest tests, one id a rule."""
