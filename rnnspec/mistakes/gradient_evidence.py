"""Comparison of the gradients of a layer, whose results are right, with a hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch

from rnnspec.cases.conditions import has_known_gradients
from rnnspec.cases.states import split_states
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.outcome import RAISED, Array, Outcome
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.expected import Expected
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import NOTHING, Changes
from rnnspec.subjects.failures import Malformed, Raised


class GradientEvidence(Evidence):
    """A case with right results: its gradients, and the gradients predicted by hypotheses."""

    compared = "gradients"

    @cached_property
    def given(self) -> Given:
        """The numbers of the case, as leaves."""
        return Given.from_values(self.case, self.observation.values, gradients=True)

    @cached_property
    def observed(self) -> Outcome | None:
        """The gradients, an outcome without gradients, or None if they cannot be predicted."""
        if not has_known_gradients(self.case):
            return None
        try:
            gradients = self.observation.gradients
        except (Malformed, Raised):
            return RAISED
        except Exception:  # not observable, or an error of the checker
            return None
        names = exclude_masked_gradients(self.case, gradients)
        return Outcome({name: gradients[name] for name in names})

    @cached_property
    def required(self) -> Outcome:
        """The right gradients, without masks if masks are random."""
        return self.predict(NOTHING)

    def read_bounds(self, expected: Expected) -> Mapping[str, Array]:
        """Return the bounds on the errors of the gradients."""
        return expected.gradient_bound

    def is_exact_in(self, expected: Expected) -> bool:
        """Return whether no gradient has to be rounded with the rounding of `expected`."""
        return expected.has_exact_gradients

    def predict(self, changes: Changes, given: Given | None = None) -> Outcome:
        """Return the gradients of a reference for the tensors whose gradients were observed."""
        assert self.observed is not None
        values, is_cell = self.observation.values, self.case.config.kind_data.is_cell
        output = np.zeros_like(values.d_output) if is_cell else np.array(values.d_output)
        d_output = torch.from_numpy(output)
        d_final = split_states(self.case.config, torch.from_numpy(np.array(values.d_final)))
        try:
            with torch.enable_grad():
                reference = Reference(given or self.given, changes)
                gradients = reference.differentiate(d_output, d_final)
        except (Refused, RuntimeError, IndexError):
            return RAISED
        names = self.observed.results or gradients
        return Outcome({name: gradients[name].numpy() for name in names})
