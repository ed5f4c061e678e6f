"""What a subject does with a case: its results, its gradients, and its side effects."""
