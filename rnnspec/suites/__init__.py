"""What the engine runs: the contract's rules over the cases of a layer, or over those of a model."""
