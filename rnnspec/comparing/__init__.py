"""The comparison of two modules that are called alike: a reference, and a candidate for it."""
