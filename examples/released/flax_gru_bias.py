"""The GRU cell of Flax has no bias that the reset gate multiplies (b_hn)."""

import jax
from flax import nnx

cell = nnx.GRUCell(1, 1, rngs=nnx.Rngs(0))
shapes = jax.tree.map(lambda each: each.shape, nnx.to_pure_dict(nnx.state(cell, nnx.Param)))
print(shapes)
