"""The documented contract as data: kinds of layer, configurations, shapes and clauses.

No module here imports torch or Hypothesis.
"""
