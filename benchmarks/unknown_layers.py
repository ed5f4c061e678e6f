"""Thirty wrong layers that no known mistake describes, for measurements of the search for faults.

Each overrides a method of a plain layer. When a row of the catalogue describes one, replace it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rnnspec.plain.gru import PlainGRU
from rnnspec.plain.layer import Plain, Sizes
from rnnspec.plain.lstm import PlainLSTM

Method = Callable[..., object]


def _add_residual(self: Plain, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
    below = Plain.layer_input(self, data, sizes, layer)
    return below + torch.roll(below, 1, dims=-1) if layer else below


def _normalise_output(self: Plain, data: Tensor, sizes: Sizes) -> Tensor:
    return data / (1 + data.square().mean(dim=-1, keepdim=True))


def _smooth_output(self: Plain, outputs: dict[int, Tensor], length: int) -> Tensor:
    smoothed = {0: outputs[0]}
    for t in range(1, length):
        now, rows = outputs[t], min(len(outputs[t]), len(outputs[t - 1]))
        smoothed[t] = torch.cat([0.75 * now[:rows] + 0.25 * outputs[t - 1][:rows], now[rows:]])
    return torch.cat([smoothed[t] for t in range(length)])


def _scale_input(self: Plain, data: Tensor, layer: int, direction: int) -> Tensor:
    return Plain.multiply_input(self, data * torch.cos(data), layer, direction)


def _mix_units(self: Plain, layer: int, direction: int) -> Tensor:
    weight = Plain.recurrent_weight(self, layer, direction)
    self.__dict__["direction"] = direction
    return weight + 0.5 * weight.roll(1, dims=1)


def _decay_state(self: Plain, h: Tensor, new: Tensor) -> Tensor:
    return Plain.advance(self, h, new * (1 - 0.1 * new.abs()))


def _blend_directions(self: Plain, outputs: list[Tensor]) -> Tensor:
    if len(outputs) == 1:
        return outputs[0]
    first, second = outputs
    return torch.cat([first + 0.1 * second * second, second], dim=-1)


def _square_biases(self: Plain, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
    return Plain.add_biases(self, product, [bias + bias.square() for bias in biases])


def _weight_last(
    self: Plain, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
) -> Tensor:
    return h - 0.3 * h.square()


def _warp_start(self: Plain, h_0: Tensor, layer: int, direction: int) -> Tensor:
    h = Plain.pick_state(self, h_0, layer, direction)
    return h * torch.exp(-h.square())


COMMON: Mapping[str, Method] = {
    "layer_input": _add_residual,
    "finish_output": _normalise_output,
    "join": _smooth_output,
    "multiply_input": _scale_input,
    "recurrent_weight": _mix_units,
    "advance": _decay_state,
    "merge": _blend_directions,
    "add_biases": _square_biases,
    "last_state": _weight_last,
    "pick_state": _warp_start,
}


def _activate_softly(self: Plain, x: Tensor) -> Tensor:
    return x / (1 + x.abs()) + 0.1 * torch.sin(x)


def _step_twice(self: Plain, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
    half = 0.5 * (h + Plain.step(self, x, h, weight, layer, t))
    return Plain.step(self, x, half, weight, layer, t)


def _renew_softly(self: PlainLSTM, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
    return f * c + i * g * (1 - 0.5 * c.tanh())


def _open_by_others(self: PlainLSTM, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> object:
    return self.gate(i), self.gate(f - 0.5 * i), self.activation(g), self.gate(o)


def _expose_both(self: PlainLSTM, c: Tensor, o: Tensor) -> Tensor:
    return o * torch.tanh(c) + 0.1 * (1 - o) * torch.sin(c)


def _mix_softly(self: PlainGRU, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
    return (1 - update) * new + update * h + update * (1 - update) * new * h


def _reset_softly(self: PlainGRU, reset: Tensor, inside: Tensor) -> Tensor:
    return reset * inside * (1 - 0.5 * reset)


def _make(base: type[nn.Module], name: str, method: Method) -> type[nn.Module]:
    title = "".join(part.title() for part in method.__name__.split("_"))
    return type(f"{title}{base.__name__}", (base,), {name: method, "__module__": __name__})


OWN: Mapping[str, Iterable[tuple[str, Method]]] = {
    "rnn": [("activation", _activate_softly), ("step", _step_twice)],
    "gru": [("mix", _mix_softly), ("apply_reset", _reset_softly)],
    "lstm": [("renew", _renew_softly), ("open_gates", _open_by_others), ("expose", _expose_both)],
}
COMMON_OF = {
    "rnn": (
        *("layer_input", "finish_output", "join", "multiply_input"),
        *("recurrent_weight", "advance", "add_biases", "pick_state"),
    ),
    "gru": (
        *("layer_input", "finish_output", "join", "multiply_input"),
        *("recurrent_weight", "merge", "last_state", "pick_state"),
    ),
    "lstm": (
        *("layer_input", "finish_output", "join", "multiply_input"),
        *("recurrent_weight", "add_biases", "last_state"),
    ),
}
"""Methods that all layers have, without those in which kinds differ: an LSTM has two states."""
BASES: Mapping[str, type[nn.Module]] = {"rnn": Plain, "gru": PlainGRU, "lstm": PlainLSTM}

LAYERS: Mapping[str, tuple[type[nn.Module], ...]] = {
    kind: tuple(
        _make(base, name, method)
        for name, method in [*((each, COMMON[each]) for each in COMMON_OF[kind]), *OWN[kind]]
    )
    for kind, base in BASES.items()
}
"""The layers by kind."""
globals().update({layer.__name__: layer for layers in LAYERS.values() for layer in layers})
