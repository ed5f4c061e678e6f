"""Hypotheses about a wrong layer: the reference, evaluated with one thing wrong."""
