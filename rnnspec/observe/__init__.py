"""Observe a subject in a case: its results, its gradients, and its side effects."""
