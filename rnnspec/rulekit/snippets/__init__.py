"""The last lines of reproduction programs."""
