"""A plain replacement for each layer and cell, used to plant bugs in.

The loop over named values computes it, using the tensors of a call in the place of the numbers of a
case. If you write a correct layer that computes in another way, or a bug that is not about values,
override a method.
"""
