"""What a layer must reject, and what a rejected call leaves behind."""
