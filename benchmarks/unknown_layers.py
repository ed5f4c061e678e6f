"""Thirty wrong layers that no known mistake describes, for measurements of the search for faults.

Each overrides a method of a plain layer or cell. When a row of the catalogue describes one, replace
it: `benchmarks.cost` records the likely cause that was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rnnspec.plain.cells import PlainGRUCell, PlainLSTMCell, PlainRNNCell
from rnnspec.plain.gru import PlainGRU
from rnnspec.plain.layer import Plain, Sizes
from rnnspec.plain.lstm import JoinedLSTM, PlainLSTM

Method = Callable[..., object]


def _add_residual(self: Plain, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
    below = Plain.layer_input(self, data, sizes, layer)
    return below + torch.roll(below, 1, dims=-1) if layer else below


def _attend_to_states(self: Plain, outputs: dict[int, Tensor], length: int) -> Tensor:
    """Return a mean of all states so far in place of each, weighted by how alike they are."""
    attended = []
    for t in range(length):
        now = outputs[t]
        earlier = torch.stack([outputs[s][: len(now)] for s in range(t + 1) if len(outputs[s])])
        weights = torch.softmax((earlier * now).sum(-1, keepdim=True), dim=0)
        attended.append((weights * earlier).sum(0))
    return torch.cat(attended)


def _smooth_output(self: Plain, outputs: dict[int, Tensor], length: int) -> Tensor:
    smoothed = {0: outputs[0]}
    for t in range(1, length):
        now, rows = outputs[t], min(len(outputs[t]), len(outputs[t - 1]))
        smoothed[t] = torch.cat([0.75 * now[:rows] + 0.25 * outputs[t - 1][:rows], now[rows:]])
    return torch.cat([smoothed[t] for t in range(length)])


def _normalise_output(self: Plain, data: Tensor, sizes: Sizes) -> Tensor:
    return data / (1 + data.square().mean(dim=-1, keepdim=True))


def _add_seeded_noise(self: Plain, data: Tensor, layer: int, direction: int) -> Tensor:
    drawn = torch.randn(data.shape, generator=torch.Generator().manual_seed(7))
    return Plain.multiply_input(self, data + 0.1 * drawn.to(data), layer, direction)


def _scale_input(self: Plain, data: Tensor, layer: int, direction: int) -> Tensor:
    return Plain.multiply_input(self, data * torch.cos(data), layer, direction)


def _square_biases(self: Plain, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
    return Plain.add_biases(self, product, [bias + bias.square() for bias in biases])


def _warp_start(self: Plain, h_0: Tensor, layer: int, direction: int) -> Tensor:
    h = Plain.pick_state(self, h_0, layer, direction)
    return h * torch.exp(-h.square())


def _interleave_gates(self: Plain, layer: int, direction: int) -> Tensor:
    """Read the rows of W_hh unit by unit, as if those of all gates of a unit were neighbours."""
    weight = Plain.recurrent_weight(self, layer, direction)
    units = len(weight) // 3
    return weight.reshape(units, 3, -1).transpose(0, 1).reshape(weight.shape).roll(1, dims=1)


def _leak(self: Plain, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
    """Keep a share of the state that differs from unit to unit."""
    kept = torch.linspace(0.1, 0.5, h.size(-1)).to(h)
    return kept * h + (1 - kept) * Plain.step(self, x, h, weight, layer, t)


def _skip_every_third(
    self: Plain, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int
) -> Tensor:
    new = Plain.step(self, x, h, weight, layer, t)
    return h + 0.1 * new if t % 3 == 2 else new


def _activate_softly(self: Plain, x: Tensor) -> Tensor:
    return x / (1 + x.abs()) + 0.1 * torch.sin(x)


def _swish(self: Plain, x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.5 * x)


def _hold_some_units(self: PlainGRU, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
    """Keep two thirds of every third unit, as zoneout with a fixed mask does."""
    held = (torch.arange(h.size(-1), device=h.device) % 3 == 1).to(h) * 2 / 3
    return held * h + (1 - held) * PlainGRU.mix(self, new, update, h)


def _reset_softly(self: PlainGRU, reset: Tensor, inside: Tensor) -> Tensor:
    return reset * inside * (1 - 0.5 * reset)


def _clip_gradient(self: PlainGRU, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
    """Squash the gradient of each state, which is passed on from step to step."""
    mixed = PlainGRU.mix(self, new, update, h)
    if mixed.requires_grad:
        mixed.register_hook(lambda gradient: 0.2 * torch.tanh(gradient / 0.2))
    return mixed


def _peep(self: JoinedLSTM, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
    """Let the cell state open the gates."""
    c = self.recall(h)
    seen = torch.cat([0.4 * c, 0.3 * c, torch.zeros_like(c), 0.2 * c], dim=-1)
    return JoinedLSTM.step(self, x + seen, h, weight, layer, t)


def _skip_lstm(
    self: JoinedLSTM, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int
) -> Tensor:
    new = JoinedLSTM.step(self, x, h, weight, layer, t)
    return 0.5 * (h + new) if t % 4 == 3 else new


def _renew_softly(
    self: JoinedLSTM, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor
) -> Tensor:
    return f * c + i * g * (1 - 0.5 * c.tanh())


def _normalise_cell(
    self: JoinedLSTM, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor
) -> Tensor:
    new = f * c + i * g
    return new / torch.sqrt(1 + new.square().mean(dim=-1, keepdim=True))


def _open_by_others(self: JoinedLSTM, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> object:
    return self.gate(i), self.gate(f - 0.5 * i), self.activation(g), self.gate(o)


def _expose_both(self: JoinedLSTM, c: Tensor, o: Tensor) -> Tensor:
    return o * torch.tanh(c) + 0.1 * (1 - o) * torch.sin(c)


_CHANGES: Mapping[str, tuple[type[nn.Module], Mapping[str, Method]]] = {
    "rnn": (
        Plain,
        {
            "layer_input": _add_residual,
            "join": _attend_to_states,
            "multiply_input": _add_seeded_noise,
            "add_biases": _square_biases,
            "step": _skip_every_third,
        },
    ),
    "gru": (
        PlainGRU,
        {
            "finish_output": _normalise_output,
            "recurrent_weight": _interleave_gates,
            "mix": _clip_gradient,
            "activation": _activate_softly,
            "pick_state": _warp_start,
        },
    ),
    "lstm": (
        PlainLSTM,
        {
            "join": _smooth_output,
            "multiply_input": _scale_input,
            "step": _skip_lstm,
            "renew": _renew_softly,
            "expose": _expose_both,
        },
    ),
    "rnn-cell": (
        PlainRNNCell,
        {
            "activation": _swish,
            "step": _leak,
            "multiply_input": _scale_input,
            "add_biases": _square_biases,
            "pick_state": _warp_start,
        },
    ),
    "gru-cell": (
        PlainGRUCell,
        {
            "mix": _hold_some_units,
            "apply_reset": _reset_softly,
            "activation": _activate_softly,
            "recurrent_weight": _interleave_gates,
            "multiply_input": _add_seeded_noise,
        },
    ),
    "lstm-cell": (
        PlainLSTMCell,
        {
            "step": _peep,
            "renew": _normalise_cell,
            "open_gates": _open_by_others,
            "expose": _expose_both,
            "multiply_input": _scale_input,
        },
    ),
}


def _make(base: type[nn.Module], name: str, method: Method) -> type[nn.Module]:
    title = "".join(part.title() for part in method.__name__.split("_"))
    return type(f"{title}{base.__name__}", (base,), {name: method, "__module__": __name__})


LAYERS: Mapping[str, tuple[type[nn.Module], ...]] = {
    kind: tuple(_make(base, name, method) for name, method in changes.items())
    for kind, (base, changes) in _CHANGES.items()
}
"""The layers by kind."""
globals().update({layer.__name__: layer for layers in LAYERS.values() for layer in layers})
