"""Check cases on a Dask cluster.

The worker processes of a cluster (here: nodes) use neither torch nor the target. Each node starts a
process with its own workers, just as the command does on one machine, so no action of the target
can end a node. See `rnnspec.isolation`.
"""
