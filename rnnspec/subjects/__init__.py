"""The subject, which is the implementation under test: finding it, building it and calling it."""
