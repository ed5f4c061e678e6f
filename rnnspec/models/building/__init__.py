"""Choose the arguments of a constructor that the user did not give."""
