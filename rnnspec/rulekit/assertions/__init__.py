"""What rules assert: results, gradients and relations between calls."""
