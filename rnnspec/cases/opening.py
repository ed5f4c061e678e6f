"""The opening cases: a few everyday cases that begin every run.

Their choices and sizes are fixed, so that `--fail-fast` needs neither a plan nor Hypothesis to stop
at a layer that is wrong in everyday use. Only their numbers depend on the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnnspec.cases.axes import (
    AXIS,
    Distribution,
    DropoutLevel,
    InitialState,
    Layout,
    Mode,
    Projection,
)
from rnnspec.cases.case import Case, is_consistent
from rnnspec.cases.drawing import make_case, mix_seed
from rnnspec.cases.plan import Scope, find_simplest_row
from rnnspec.cases.sizes import DIMENSIONS, SizesByName
from rnnspec.cases.space import USUAL_DROPOUT
from rnnspec.contract.kinds import Nonlinearity

LENGTHS = {4: (2, 3, 1, 2), 2: (2, 3)}
"""The lengths of the sequences of a packed batch, by batch size; the longest is `steps`."""
GIVEN, SOME = InitialState.GIVEN, DropoutLevel.SOME
RELU = Nonlinearity.RELU.value
OPENING: tuple[tuple[tuple[int, int, int, int], Mapping[str, Any]], ...] = (
    (
        (4, 5, 3, 2),
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "initial_state": GIVEN},
    ),
    (
        (2, 5, 3, 4),
        {
            "nonlinearity": RELU,
            "num_layers": 3,
            "layout": Layout.PACKED_UNSORTED,
            "initial_state": GIVEN,
        },
    ),
    ((2, 4, 3, 5), {"batch_first": True}),
    ((4, 2, 3, 1), {"layout": Layout.UNBATCHED, "initial_state": GIVEN, "mode": Mode.TRAIN}),
    ((4, 4, 2, 3), {"num_layers": 3, "dropout": SOME}),
    ((4, 2, 3, 5), {"nonlinearity": RELU, "num_layers": 2, "bidirectional": True, "bias": False}),
    ((2, 4, 3, 2), {"bidirectional": True, "batch_first": True, "layout": Layout.PACKED}),
    (
        (4, 5, 3, 2),
        {
            "num_layers": 2,
            "proj_size": Projection.SOME,
            "bias": False,
            "initial_state": GIVEN,
            "mode": Mode.TRAIN,
        },
    ),
    (
        (4, 5, 2, 3),
        {
            "num_layers": 3,
            "dropout": SOME,
            "mode": Mode.TRAIN,
            "distribution": Distribution.READABLE,
        },
    ),
)
"""The sizes of each opening case, and the choices that differ from the simplest.

The sizes are in the order of the `DIMENSIONS`: input, hidden state, steps and batch. In most cases
all sizes differ, so that no dimension can be mistaken for another; in one case, input and output
have the same width.
"""


def list_opening_cases(scope: Scope, seed: int) -> list[Case]:
    """Return the opening cases, with the simplest choice in scope in place of choices outside it.

    Cases that this makes inconsistent or equal to an earlier case are left out.
    """
    cases: list[Case] = []
    for sizes, wanted in OPENING:
        case = _make_case(scope, dict(zip(DIMENSIONS, sizes, strict=True)), wanted)
        if is_consistent(case) and case not in cases:
            cases.append(case)
    return [case.replace(seed=mix_seed(seed, number)) for number, case in enumerate(cases)]


def _make_case(scope: Scope, sizes: SizesByName, wanted: Mapping[str, Any]) -> Case:
    """Return the case with these sizes and choices, as far as the scope contains them."""
    row = {
        name: wanted[name] if wanted.get(name) in scope.list_values(AXIS[name]) else simplest
        for name, simplest in find_simplest_row(scope).items()
    }
    level = row["dropout"].probability
    if row["proj_size"] is Projection.SOME:
        sizes = {**sizes, "proj_size": sizes["hidden_size"] - 1}
    row["kind"] = scope.kind
    case = make_case(row, sizes, USUAL_DROPOUT if level is None else level)
    return case.replace(lengths=LENGTHS.get(case.batch, ()))
