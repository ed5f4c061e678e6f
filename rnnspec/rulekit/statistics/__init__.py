"""Statistical tests, and dropout masks decoded from the output of a layer."""
