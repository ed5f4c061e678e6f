"""The subject, which is the layer under test: find it, build it and call it."""
