"""Find the adapter of a layer: what its weights are called, and how it is called."""
