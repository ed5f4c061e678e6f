"""The implementation under test: how it is found, built, given weights and called."""
