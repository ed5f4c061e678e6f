"""Observations of layers that make one mistake: the reference with a hypothesis planted in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import InitialState, Layout, MemoryLayout, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.states import split_states
from rnnspec.cases.values import Values, draw_values
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.engine.explanations import LikelyCause
from rnnspec.mistakes.catalogue import GRADIENT_HYPOTHESES, HYPOTHESES
from rnnspec.mistakes.evidence import Evidence, GradientEvidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.outcome import Outcome
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.plain.gated import PlainGRU
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import NOTHING, Changes
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target


@lru_cache(maxsize=256)
def expect(case: Case) -> Expected:
    return Expected(case, draw_values(case))


@dataclass(frozen=True)
class Returned:
    raw_output: Any
    raw_states: dict[str, torch.Tensor]


class Planted:
    """Stands for the observation of a layer that makes a mistake."""

    holds_weights = True

    def __init__(self, case: Case, changes: Changes = NOTHING) -> None:
        self.case = case
        self.changes = changes
        self.expected = expect(case)
        self.values: Values = self.expected.values
        self.result_names = case.config.kind_data.results
        self.state_names = case.config.kind_data.final
        self._remembered: dict[str, Any] = {}

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the result of `compute`, which is called once for each name."""
        if name not in self._remembered:
            self._remembered[name] = compute()
        return self._remembered[name]

    @property
    def call(self) -> Returned:
        reference = Reference(Given.from_values(self.case, self.values), self.changes)
        try:
            output, states = reference.compute()
        except (Refused, RuntimeError, IndexError) as error:
            raise Raised("the call", error) from error
        if reference.packs_output:
            return Returned(PackedSequence(output, torch.tensor([len(output)])), states)
        return Returned(output, states)

    @property
    def gradients(self) -> dict[str, Any]:
        given = Given.from_values(self.case, self.values, gradients=True)
        is_cell = self.case.config.kind_data.is_cell
        d_output = np.zeros_like(self.values.d_output) if is_cell else self.values.d_output
        joined = torch.from_numpy(np.array(self.values.d_final))
        d_final = split_states(self.case.config, joined)
        try:
            reference = Reference(given, self.changes)
            found = reference.differentiate(torch.from_numpy(np.array(d_output)), d_final)
        except (Refused, RuntimeError) as error:
            raise Raised("backward", error) from error
        return {name: gradient.numpy() for name, gradient in found.items()}


MOST = 8
"""The number of wrong cases that are examined."""
CELL_LAYOUTS = (Layout.BATCHED, Layout.UNBATCHED)


def draw_cases(number: int = 80, kind: str = UNGATED.name) -> list[Case]:
    """Return small cases of a kind in float64, with every way of calling it."""
    known = KINDS[kind]
    layouts = CELL_LAYOUTS if known.is_cell else list(Layout)
    drawn = np.random.default_rng(0)

    def choose(*values: Any) -> Any:
        return values[int(drawn.integers(len(values)))]

    found = []
    for seed in range(number):
        layout = layouts[seed % len(layouts)]
        batch = 1 if layout is Layout.UNBATCHED else choose(1, 2, 3, 4)
        steps = 1 if known.is_cell else choose(1, 2, 3, 4, 5)
        hidden = choose(1, 2, 3, 4)
        of_layers = {
            "num_layers": partial(choose, 1, 1, 2, 2, 3),
            "nonlinearity": partial(choose, "tanh", "relu"),
            "bias": partial(choose, True, True, True, False),
            "batch_first": partial(choose, True, False),
            "bidirectional": partial(choose, True, False),
            "dropout": partial(choose, 0.0, 0.5, 1.0),
            "proj_size": partial(choose, 0, min(1, hidden - 1)),
        }
        config = Config(
            input_size=choose(hidden, 2, 5),
            hidden_size=hidden,
            kind=kind,
            **{name: draw() for name, draw in of_layers.items() if name in known.arguments},
        )
        case = Case(
            config=config,
            steps=steps,
            batch=batch,
            lengths=tuple(int(each) for each in drawn.integers(1, steps + 1, batch)),
            layout=layout,
            initial_state=choose(InitialState.GIVEN, InitialState.GIVEN, InitialState.ABSENT),
            mode=Mode.TRAIN if config.dropout == 1 and choose(True, False) else Mode.EVAL,
            memory_layout=choose(MemoryLayout.CONTIGUOUS, MemoryLayout.SLICED),
            seed=seed,
        )
        found.append(case.fit_lengths())
    return found


CASES = draw_cases()


@lru_cache
def list_cases(kind: str) -> tuple[Case, ...]:
    """Return the cases on which mistakes of a kind of layer are planted."""
    return tuple(CASES) if kind == UNGATED.name else tuple(draw_cases(32, kind))


MOST_PREDICTIONS = 30_000
PREDICTIONS: dict[Any, Outcome] = {}
"""The predictions of mistakes by case, which do not depend on the layer."""


@contextmanager
def sharing_predictions(kind: type[Evidence]) -> Iterator[None]:
    """Predict the effect of a mistake on a case once, and not for each diagnosed layer."""
    predict = kind.predict

    def look_up(evidence: Evidence, changes: Changes, given: Given | None = None) -> Outcome:
        if given is not None:
            return predict(evidence, changes, given)
        names = () if evidence.observed is None else tuple(evidence.observed.results)
        key = kind, evidence.case, changes, names
        if key not in PREDICTIONS:
            if len(PREDICTIONS) >= MOST_PREDICTIONS:
                PREDICTIONS.clear()
            PREDICTIONS[key] = predict(evidence, changes)
        return PREDICTIONS[key]

    with patch.object(kind, "predict", look_up):
        yield


def diagnose(
    hypothesis: Hypothesis | None, gradients: bool = False, cases: Sequence[Case] = CASES
) -> LikelyCause | None:
    """Return the cause that is reported for a layer with a mistake, or for a correct layer."""
    kind = GradientEvidence if gradients else Evidence
    with sharing_predictions(kind):
        return _diagnose(hypothesis, kind, cases)


def _diagnose(
    hypothesis: Hypothesis | None, kind: type[Evidence], cases: Sequence[Case]
) -> LikelyCause | None:
    wrong: list[Observation] = []
    right: list[Observation] = []
    for case in cases:
        applies = hypothesis is not None and hypothesis.concerns(case)
        changes = hypothesis.changes if hypothesis is not None and applies else NOTHING
        seen = cast(Observation, Planted(case, changes))
        evidence = seen.remember(kind.__name__, partial(kind, seen))
        (right if evidence.is_right else wrong).append(seen)
    return find_likely_cause(CauseQuery(wrong[:24], right[:6], kind is GradientEvidence))


def check_each_is_reported(
    mistakes: Sequence[Hypothesis], cases: Sequence[Case], *, gradients: bool = False
) -> None:
    """Check that each mistake, and no other, is reported for a layer that makes it."""
    causes = [diagnose(each, gradients, cases) for each in mistakes]
    assert [cause and cause.key for cause in causes] == [each.key for each in mistakes]


def find_causes(gradients: bool, number: int = 1, kind: str = UNGATED.name) -> dict[str, str]:
    """Plant each hypothesis, or one in `number`, and return the keys of the reported causes.

    Those that concern no layer of the kind are left out.
    """
    reported, cases = {}, list_cases(kind)
    hypotheses = GRADIENT_HYPOTHESES if gradients else HYPOTHESES
    concerned = [each for each in hypotheses if any(map(each.concerns, cases))]
    if kind != UNGATED.name:  # what concerns an RNN too is planted there
        concerned = [each for each in concerned if not any(map(each.concerns, CASES))]
    for hypothesis in concerned[::number]:
        cause = diagnose(hypothesis, gradients, cases)
        reported[hypothesis.key] = cause.key if cause else ""
    return reported


def list_wrong(layer: type[Any], evidence: type[Evidence] = Evidence) -> list[Observation]:
    """Return what a wrong GRU or LSTM does in the simplest cases in which that shows."""
    kind = "gru" if issubclass(layer, PlainGRU) else "lstm"
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind=kind)
    cases = [case for case in list_cases(kind) if not case.is_random]
    wrong: list[Observation] = []
    for case in sorted(cases, key=measure_size):
        seen = Observation(subject, case)
        if len(wrong) < MOST and not evidence(seen).is_right:
            wrong.append(seen)
    return wrong


def measure_size(case: Case) -> int:
    return case.steps * case.config.num_layers * case.config.num_directions
