"""A gradient through a scan of JAX on a CPU depends on which others are computed with it."""

import os

os.environ.setdefault("JAX_ENABLE_X64", "1")

import jax
import jax.numpy as jnp

keys = jax.random.split(jax.random.key(0), 5)
shapes = ((15, 1), (15, 5), (15,), (5,), (2, 4, 1))
*weights, x = (
    jax.random.uniform(key, shape, jnp.float64) for key, shape in zip(keys, shapes, strict=True)
)


def run_gru(x, h, weights):
    kernel, recurrent, bias, bias_n = weights
    i, g = jnp.split(kernel @ x + bias, 3), jnp.split(recurrent @ h, 3)
    r, z = jax.nn.sigmoid(i[0] + g[0]), jax.nn.sigmoid(i[1] + g[1])
    new = jnp.tanh(i[2] + r * (g[2] + bias_n))
    return new + z * (h - new)


def total(x, weights):
    def step(h, given):
        h = jax.vmap(run_gru, (0, 0, None))(given, h, weights)
        return h, h

    return jax.lax.scan(step, jnp.zeros((4, 5)), x)[1].sum()


def slope(place, size=1e-6):
    up, down = (total(x.at[place].add(each), weights) for each in (size, -size))
    return (up - down) / (2 * size)


alone = jax.grad(total)(x, weights)
beside = jax.grad(lambda both: total(*both))((x, weights))[0]
place = jnp.unravel_index(jnp.argmax(abs(alone - beside)), x.shape)
print(f"of x alone {alone[place]:.6f}, of x and the weights {beside[place]:.6f}")
print(f"by finite differences {slope(place):.6f}")
