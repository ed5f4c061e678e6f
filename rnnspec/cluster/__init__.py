"""Have the cases of a check judged by a Dask cluster.

The worker processes of a cluster (here: nodes) use neither torch nor the target. Each starts a
process that has workers of its own, as the command has on one machine, so that nothing that the
target does ends a node. See `rnnspec.isolation`.
"""
