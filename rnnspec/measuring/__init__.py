"""The accuracy of a layer, measured beside that of another."""
