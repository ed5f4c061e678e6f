"""What a subject did with a case: outputs, states, gradients and side effects, each part on demand and once."""
