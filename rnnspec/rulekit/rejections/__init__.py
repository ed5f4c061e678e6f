"""Invalid arguments and calls that a layer must reject, and the side effects of rejected calls."""
