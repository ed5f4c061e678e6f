"""A plain replacement for each layer and cell, used to plant bugs in.

The loop over named values computes it, using the tensors of a call in the place of the numbers of a
case. Correct layers that compute in another way, and bugs that are not about values, override a
method.
"""
