"""Statistical tests, and dropout masks decoded from the output of a layer.

If your rule counts random events, use `binomial.assert_likely`, which keeps the probability of a
false alarm in a run below 1e-9.
"""
