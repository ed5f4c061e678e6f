"""Measure the accuracy of a layer in comparison with another layer."""
