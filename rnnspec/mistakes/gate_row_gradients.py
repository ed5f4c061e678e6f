"""Mistakes with the rows of a single gate in the gradient of a parameter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gate_mixups import key_gates, list_others, name_gates, share_rows
from rnnspec.mistakes.gates import is_of_kind, list_gated_kinds, scale_rows
from rnnspec.mistakes.gradient_values import BIASES, PARAMETERS, change_gradients
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.situations import reads_any
from rnnspec.reference.given import Given
from rnnspec.reference.values import change_values

SCALES: tuple[tuple[str, str, float], ...] = (
    ("zero", "are zero", 0.0),
    ("doubled", "are doubled", 2.0),
    ("halved", "are halved", 0.5),
    ("negated", "have the opposite sign", -1.0),
)
OF_WEIGHTS = SCALES[1:]
"""Rows of a weight without a gradient are reported as gradients that the gate does not pass on."""
NAMES = {"weight_ih": "W_ih", "weight_hh": "W_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
RULES = {name: "gradients.biases" if name in BIASES else "gradients.weights" for name in NAMES}
REMEDY = "return the gradient of each row to the gate that the row belongs to"


def _reorder(order: tuple[int, ...], gradient: Tensor, given: Given) -> Tensor:
    """Return the rows of a gradient in another order of gates, given by places."""
    blocks = gradient.chunk(len(order))
    return torch.cat([blocks[gate] for gate in order])


def _share(source: int, targets: tuple[int, ...], gradient: Tensor, given: Given) -> Tensor:
    """Return a gradient where some gates have the rows of another gate."""
    return share_rows(gradient, len(given.case.config.kind_data.gates), source, targets)


def _list_scaled(kind: Kind) -> Iterator[Hypothesis]:
    for block, gate in enumerate(kind.gates):
        for name, shown in NAMES.items():
            for key, text, factor in SCALES if name in BIASES else OF_WEIGHTS:
                change = partial(scale_rows, block=block, factor=factor)
                yield Hypothesis(
                    f"gradient.{gate}-gate.{key}.in={shown}",
                    f"the rows of the {gate} gate in the gradient of {shown} {text}",
                    REMEDY,
                    (RULES[name],),
                    change_values(change_gradients(change, (name,))),
                    partial(reads_any, (name,)),
                    of=partial(is_of_kind, kind),
                )


def _list_orders(kind: Kind) -> Iterator[Hypothesis]:
    for order in kind.list_wrong_orders():
        change = partial(_reorder, tuple(map(kind.gates.index, order)))
        for rank, (key, shown, names) in enumerate(
            (("parameters", "all parameters", PARAMETERS), ("biases", "biases", BIASES))
        ):
            of_gates = tuple(name for name in names if name in NAMES)
            yield Hypothesis(
                f"gradient.gates.order={','.join(order)}.in={key}",
                f"the gradients of {shown} have the rows of the gates {', '.join(order)}, in this "
                "order",
                f"stack the rows of gradients in the documented order: {', '.join(kind.gates)}",
                tuple(dict.fromkeys(RULES[name] for name in of_gates)),
                change_values(change_gradients(change, of_gates)),
                partial(reads_any, of_gates[:1]),
                family=f"gradient.gates.order={','.join(order)}",
                rank=rank,
                of=partial(is_of_kind, kind),
            )


SHARED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("parameters", "all parameters", tuple(NAMES)),
    ("biases", "biases", BIASES),
    *((shown, shown, (name,)) for name, shown in NAMES.items()),
)
"""The parameters in whose gradients gates may have the rows of another gate."""


def _list_shared(kind: Kind) -> Iterator[Hypothesis]:
    for source, gate in enumerate(kind.gates):
        for targets in list_others(kind, source):
            named = name_gates(kind, targets)
            family = f"gradient.{key_gates(kind, targets)}.rows-of-{gate}"
            change = partial(_share, source, targets)
            for rank, (key, shown, names) in enumerate(SHARED):
                yield Hypothesis(
                    f"{family}.in={key}",
                    f"in the gradient of {shown}, the rows of {named} are those of the {gate} gate",
                    REMEDY,
                    tuple(dict.fromkeys(RULES[name] for name in names)),
                    change_values(change_gradients(change, names)),
                    partial(reads_any, names),
                    family=family,
                    rank=rank,
                    of=partial(is_of_kind, kind),
                )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    each
    for kind in list_gated_kinds()
    for each in (*_list_scaled(kind), *_list_orders(kind), *_list_shared(kind))
)
