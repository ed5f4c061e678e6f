"""Hypotheses about a wrong layer: the reference, evaluated with a mistake."""
