"""What the read-out of a model sees, as data, in words and as a picture; without torch."""
