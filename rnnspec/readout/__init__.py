"""The read-out map of a model as data, in words and as a picture; without torch."""
