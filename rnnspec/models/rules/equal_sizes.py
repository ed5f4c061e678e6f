"""Rules about sizes that are equal by coincidence: equal sizes do not identify a dimension."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from rnnspec.models import snippets
from rnnspec.models.closeness import find_difference
from rnnspec.models.forms import Readout
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.infer import choose_other_size, list_own_sizes
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import HookInstaller, IsolatedModel
from rnnspec.models.layers import is_recurrent
from rnnspec.models.observation import (
    ModelObservation,
    NotApplicable,
    require_free_size,
    require_rule,
)
from rnnspec.models.rules.modes import repeatable
from rnnspec.models.rules.shapes import batch_of_one, length_of_one
from rnnspec.models.tensors import find_input
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.violation import Violation

MAX_ROWS = 2048
"""The largest batch size times length of a call."""

MAX_NUMBERS = 2**22
"""The largest number of elements in a prediction."""

PREDICTION = "the prediction"
"""The key of predictions among the recorded inputs of recurrent modules."""


@rule("model.same-in-any-batch", id="model.same-in-any-batch")
def same_in_any_batch(observation: ModelObservation) -> None:
    """The prediction for a sample is the same in a batch of any size, except for rounding.

    The check predicts a batch, and the first samples of it alone: as many as there are steps,
    features, outputs, units, layers, or rows of h_n.

    Catches a layout that is guessed from equal sizes, as in `if x.shape[0] == x.shape[1]`, and
    numbers that depend on the size of the batch.
    """
    require_free_size("batches", observation.interface.batch)
    require_rule(observation, batch_of_one)
    _require_own_predictions(observation)
    steps = observation.case.steps
    own = _name_sizes(observation, {steps: "the number of steps"})
    many = choose_other_size(max(own) + 1, own)
    probe = _Probe(observation, many, steps)
    expected = probe.predict(many, steps)
    for few, name in own.items():
        got = probe.predict(few, steps)
        index = find_difference(expected[:few], got)
        if index is not None:
            raise Violation(
                f"in a batch of {few}, which is also {name}, prediction {list(index)} is "
                f"{got[index].item():.9g}; expected {expected[index].item():.9g}, as for the same "
                f"sample in a batch of {many}",
                snippets.compare_batches(few, many, steps),
            )


@rule("model.same-at-any-length", id="model.same-at-any-length")
def same_at_any_length(observation: ModelObservation) -> None:
    """The input of a recurrent layer for a step is the same in sequences of any length.

    The check compares the inputs of recurrent layers, and predictions at every step, with those for
    longer sequences. The number of steps equals the number of features, outputs, units, layers, or
    rows of h_n. Inputs and predictions that depend on later steps at other lengths too are not
    compared.

    Catches a layout that is guessed from equal sizes, as in `if x.shape[1] == self.input_size`.
    """
    require_free_size("steps", observation.interface.steps)
    require_rule(observation, length_of_one)
    _require_own_predictions(observation)
    fixed = observation.interface.batch
    own = _name_sizes(observation, {} if fixed is None else {fixed: "the number of samples"})
    batch = fixed or choose_other_size(2, own)
    taken = {*own, batch}
    usual = choose_other_size(2, taken, 3)
    probe = _Probe(observation, batch, max(choose_other_size(max(own) + 1, taken), usual + 2))
    kept = probe.find_kept(usual, usual + 1) & probe.find_kept(usual + 1, usual + 2)
    if not kept:
        raise NotApplicable("what each recurrent layer is given depends on later steps")
    for short, name in own.items():
        long = choose_other_size(short + 1, taken)
        lost = kept - probe.find_kept(short, long)
        if lost:
            what = min(lost)
            words = what if what == PREDICTION else f"what {what or 'the model'} is given"
            raise Violation(
                f"with {short} step{'s' * (short > 1)}, which is also {name}, {words} changes if "
                f"the sequences go on to {long} steps; expected no change, as from {usual} to "
                f"{usual + 1} steps",
                snippets.compare_lengths(batch, short, long, None if what == PREDICTION else what),
            )


def _require_own_predictions(observation: ModelObservation) -> None:
    """Raise NotApplicable if predictions depend on other samples, or on other calls."""
    if observation.interface.call.draws_numbers:
        raise NotApplicable("the call draws random numbers, other ones for other sizes")
    require_rule(observation, repeatable)
    if observation.readout_map.samples_mix:
        raise NotApplicable.because_of("model.samples-independent or readout.samples")


def _name_sizes(observation: ModelObservation, given: dict[int, str]) -> dict[int, str]:
    """Return descriptions of the sizes that a batch or a sequence may equal by coincidence.

    `given` contains sizes of the input, which come first. Sizes that would make a call slow are
    skipped. Raises NotApplicable if all are.
    """
    model, case = observation.build_model(), observation.case
    outputs = observation.predict_sizes(model).shape[-1]
    most = min(MAX_ROWS, MAX_NUMBERS // max(outputs, 1)) // max(case.batch, case.steps)
    listed = [
        *given.items(),
        *list_own_sizes(model, observation.interface),
        (outputs, "the number of outputs"),
    ]
    own: dict[int, str] = {}
    for size, name in listed:
        if 1 <= size < most:
            own.setdefault(size, name)
    if not own:
        raise NotApplicable("batches and sequences of the sizes that the model has are too large")
    return own


class _Probe:
    """Calls a single copy of a model with the first samples and first steps of the same input."""

    def __init__(self, observation: ModelObservation, batch: int, steps: int) -> None:
        self.observation = observation
        self.batch = batch
        self.x = Inputs(observation.interface, batch, steps).draw(observation.case.seed)
        self.isolated = IsolatedModel(
            observation.build_model(),
            observation.interface,
            observation.draw_input(),
            build=observation.build_model,
        )
        self.watched: dict[int, dict[str, list[Tensor]]] = {}

    def predict(self, batch: int, steps: int, *installers: HookInstaller) -> Tensor:
        """Return the prediction. Raises Violation if the model raises or returns none."""
        is_batch_first = self.observation.interface.batch_first
        x = self.x[:batch, :steps] if is_batch_first else self.x[:steps, :batch]
        try:
            with torch.no_grad():
                return self.observation.predict_input(
                    lambda given: self.isolated(given, *installers), x
                )
        except Violation as violation:
            snippet = snippets.check_sizes([(batch, steps)], self.observation.readout)
            raise Violation(violation.message, snippet) from violation

    def find_kept(self, short: int, long: int) -> set[str]:
        """Return the names of inputs and predictions that do not change if sequences continue.

        They are the inputs of recurrent modules, and predictions at every step. Raises Violation if
        the model makes no valid prediction for the short sequences.
        """
        before = self._watch(short)
        try:
            after = self._watch(long)
        except Violation:  # the model refuses sequences of this length
            return set(before)
        return {name for name, given in before.items() if _are_begun(given, after[name])}

    def _watch(self, steps: int) -> dict[str, list[Tensor]]:
        """Return the inputs of each recurrent module, and the predictions at every step."""
        if steps not in self.watched:
            given: dict[str, list[Tensor]] = defaultdict(list)
            prediction = self.predict(self.batch, steps, partial(_record_given, given))
            if self.observation.readout is Readout.EVERY:
                given[PREDICTION].append(prediction)
            self.watched[steps] = given
        return self.watched[steps]


def _record_given(given: dict[str, list[Tensor]], model: nn.Module) -> list[RemovableHandle]:
    """Register hooks that append the inputs of each recurrent module to `given`, by its name."""

    def make_hook(name: str) -> Any:
        def record(_module: nn.Module, arguments: Any, keywords: Any) -> None:
            first = find_input(arguments, keywords)
            if isinstance(first, Tensor | PackedSequence):
                given[name].append(first.data.clone())

        return record

    return [
        handle
        for name, module in model.named_modules()
        if is_recurrent(module)
        for handle in watch_arguments(module, make_hook(name))
    ]


def _are_begun(short: list[Tensor], long: list[Tensor]) -> bool:
    """Return whether each tensor is the beginning of its counterpart in the longer list."""
    pairs = list(zip(short, long, strict=False))
    return len(pairs) == len(short) and all(_is_beginning(one, other) for one, other in pairs)


def _is_beginning(short: Tensor, long: Tensor) -> bool:
    if short.dim() != long.dim():
        return False
    beginning = long[tuple(map(slice, short.shape))]
    return beginning.shape == short.shape and find_difference(beginning, short) is None
