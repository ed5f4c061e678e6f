"""Choose constructor arguments that the user did not give."""
