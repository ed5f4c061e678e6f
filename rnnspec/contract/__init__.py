"""What the documentation promises, as data: kinds of layer, configurations, shapes and clauses.

Nothing here imports torch or Hypothesis.
"""
