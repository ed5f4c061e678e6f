"""Thirty wrong layers that no known mistake describes, for measurements of the search for faults.

Each is a row over named values of a plain layer or cell. When a row of the catalogue describes one,
replace it: `benchmarks.cost` records the likely cause that was found.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rnnspec.plain.call import Here
from rnnspec.plain.cells import PlainGRUCell, PlainLSTMCell, PlainRNNCell
from rnnspec.plain.gated import PlainGRU, PlainLSTM
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import Functions, States, change_values


def _add_residual(read: Tensor, spot: Here) -> Tensor:
    return read + torch.roll(read, 1, dims=-1) if spot.layer else read


def _attend_to_states(steps: Tensor) -> Tensor:
    """Return a mean of all states so far in place of each, weighted by how alike they are."""
    attended = []
    for time, now in enumerate(steps):
        earlier = steps[: time + 1]
        weights = torch.softmax((earlier * now).sum(-1, keepdim=True), dim=0)
        attended.append((weights * earlier).sum(0))
    return torch.stack(attended)


def _smooth_output(steps: Tensor) -> Tensor:
    return torch.cat([steps[:1], 0.75 * steps[1:] + 0.25 * steps[:-1]])


def _normalise_output(output: Tensor) -> Tensor:
    return output / (1 + output.square().mean(dim=-1, keepdim=True))


def _add_seeded_noise(data: Tensor) -> Tensor:
    drawn = torch.randn(data.shape, generator=torch.Generator().manual_seed(7))
    return data + 0.1 * drawn.to(data)


def _scale_input(data: Tensor) -> Tensor:
    return data * torch.cos(data)


def _square_biases(biases: list[Tensor]) -> list[Tensor]:
    return [bias + bias.square() for bias in biases]


def _warp_start(h: Tensor) -> Tensor:
    return h * torch.exp(-h.square())


def _interleave_gates(weight: Tensor) -> Tensor:
    """Read the rows of W_hh unit by unit, as if those of all gates of a unit were neighbours."""
    units = len(weight) // 3
    return weight.reshape(units, 3, -1).transpose(0, 1).reshape(weight.shape).roll(1, dims=1)


def _leak(h: Tensor, before: States) -> Tensor:
    """Keep a share of the state that differs from unit to unit."""
    kept = torch.linspace(0.1, 0.5, h.size(-1)).to(h)
    return kept * before["h"] + (1 - kept) * h


def _skip_every_third(h: Tensor, before: States, spot: Here) -> Tensor:
    return before["h"] + 0.1 * h if spot.time % 3 == 2 else h


def _activate_softly(gate: Tensor, total: Tensor) -> Tensor:
    return total / (1 + total.abs()) + 0.1 * torch.sin(total)


def _swish(gate: Tensor, total: Tensor) -> Tensor:
    return total * torch.sigmoid(1.5 * total)


def _hold_some_units(h: Tensor, before: States) -> Tensor:
    """Keep two thirds of every third unit, as zoneout with a fixed mask does."""
    held = (torch.arange(h.size(-1), device=h.device) % 3 == 1).to(h) * 2 / 3
    return held * before["h"] + (1 - held) * h


def _clip_gradient(h: Tensor) -> Tensor:
    """Squash the gradient of each state, which is passed on from step to step."""
    if h.requires_grad:
        h.register_hook(lambda gradient: 0.2 * torch.tanh(gradient / 0.2))
    return h


def _skip_lstm(states: States, before: States, spot: Here) -> States:
    if spot.time % 4 != 3:
        return states
    return {letter: 0.5 * (before[letter] + state) for letter, state in states.items()}


def _renew_softly(c: Tensor, i: Tensor, f: Tensor, g: Tensor, before: States) -> Tensor:
    return f * before["c"] + i * g * (1 - 0.5 * before["c"].tanh())


def _normalise_cell(c: Tensor) -> Tensor:
    return c / torch.sqrt(1 + c.square().mean(dim=-1, keepdim=True))


def _expose_both(h: Tensor, o: Tensor, c: Tensor) -> Tensor:
    return h + 0.1 * (1 - o) * torch.sin(c)


_PEEP: Functions = {
    "sum.input": lambda total, before: total + 0.4 * before["c"],
    "sum.forget": lambda total, before: total + 0.3 * before["c"],
    "sum.output": lambda total, before: total + 0.2 * before["c"],
}
"""The cell state opens the gates."""
_ROWS: Mapping[str, tuple[type[nn.Module], Mapping[str, Functions]]] = {
    "rnn": (
        Plain,
        {
            "AddResidual": {"read": _add_residual},
            "AttendToStates": {"steps.h": _attend_to_states},
            "AddSeededNoise": {"data": _add_seeded_noise},
            "SquareBiases": {"biases": _square_biases},
            "SkipEveryThird": {"updated.h": _skip_every_third},
        },
    ),
    "gru": (
        PlainGRU,
        {
            "NormaliseOutput": {"output": _normalise_output},
            "InterleaveGates": {"weight_hh": _interleave_gates},
            "ClipGradient": {"h": _clip_gradient},
            "ActivateSoftly": {"gate.new": _activate_softly},
            "WarpStart": {"first.h": _warp_start},
        },
    ),
    "lstm": (
        PlainLSTM,
        {
            "SmoothOutput": {"steps.h": _smooth_output},
            "ScaleInput": {"data": _scale_input},
            "SkipLstm": {"updated": _skip_lstm},
            "RenewSoftly": {"c": _renew_softly},
            "ExposeBoth": {"h": _expose_both},
        },
    ),
    "rnn-cell": (
        PlainRNNCell,
        {
            "Swish": {"gate.hidden": _swish},
            "Leak": {"updated.h": _leak},
            "ScaleInput": {"data": _scale_input},
            "SquareBiases": {"biases": _square_biases},
            "WarpStart": {"first.h": _warp_start},
        },
    ),
    "gru-cell": (
        PlainGRUCell,
        {
            "HoldSomeUnits": {"h": _hold_some_units},
            "ResetSoftly": {"inside": lambda inside, r: inside * (1 - 0.5 * r)},
            "ActivateSoftly": {"gate.new": _activate_softly},
            "InterleaveGates": {"weight_hh": _interleave_gates},
            "AddSeededNoise": {"data": _add_seeded_noise},
        },
    ),
    "lstm-cell": (
        PlainLSTMCell,
        {
            "Peep": _PEEP,
            "NormaliseCell": {"c": _normalise_cell},
            "OpenByOthers": {"sum.forget": lambda total, sums: total - 0.5 * sums["input"]},
            "ExposeBoth": {"h": _expose_both},
            "ScaleInput": {"data": _scale_input},
        },
    ),
}


def _make(base: type[nn.Module], name: str, functions: Functions) -> type[nn.Module]:
    attributes = {"changes": change_values(functions), "__module__": __name__}
    return type(f"{name}{base.__name__}", (base,), attributes)


LAYERS: Mapping[str, tuple[type[nn.Module], ...]] = {
    kind: tuple(_make(base, name, functions) for name, functions in rows.items())
    for kind, (base, rows) in _ROWS.items()
}
"""The layers by kind."""
globals().update({layer.__name__: layer for layers in LAYERS.values() for layer in layers})
