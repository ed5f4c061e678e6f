"""Models with a planted bug in their shapes and sizes, among them the faults of the printed RNN2.

The tutorial's second model, RNN2, does not run as printed; see `AttributeNeverSet` and
`DoubledFeatures`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, VOCABULARY, EveryStep, LastStep


@seen_by("model.output-shape")
class AttributeNeverSet(EveryStep):
    """The zero state is created from `self.hidden_size`, which is never set."""

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.zeros(
            1, embedded.size(0), self.hidden_size, dtype=embedded.dtype, device=embedded.device
        )  # type: ignore[call-overload]
        output, states = self.rnn(embedded, state)
        return output, states


@seen_by("model.output-shape")
class DoubledFeatures(EveryStep, width=2 * HIDDEN):
    """The linear layer expects twice the features that a unidirectional layer returns."""


@seen_by("model.output-shape")
class BothFaults(AttributeNeverSet, width=2 * HIDDEN):
    """Both faults of the printed RNN2: an attribute that is never set, and twice the features."""


@seen_by("model.output-shape")
class StepDropped(EveryStep):
    """There is no prediction for the first step, although the caller expects a prediction at every
    step.
    """

    given: ClassVar[dict[str, Any]] = {"call": "model(x)", "readout": "every"}

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features)[:, 1:]


@seen_by("model.output-shape")
class BatchAxisDropped(LastStep):
    """The prediction is averaged over the samples and has shape (outputs,)."""

    given: ClassVar[dict[str, Any]] = {"call": "model(x)", "readout": "last"}

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).mean(0)


@seen_by("model.batch-sizes")
class BatchOfTheFirstCall(LastStep):
    """The zero state is created at the first call and kept, with that call's batch size."""

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        if not hasattr(self, "state"):
            self.state = embedded.new_zeros(1, embedded.size(0), HIDDEN)
        output, states = self.rnn(embedded, self.state)
        return output, states


@seen_by("model.batch-sizes")
class RowsOfTheFirstBatch(LastStep):
    """Predictions beyond the size of the first batch are dropped."""

    limit: int | None = None

    def predict(self, features: Tensor) -> Tensor:
        self.limit = self.limit or features.size(0)
        return super().predict(features)[: self.limit]


@seen_by("model.lengths")
class StepsFlattened(LastStep, width=5 * HIDDEN):
    """The outputs of all steps are concatenated, which fits only five steps."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.flatten(1)


@seen_by("model.lengths")
class TableOfPositions(LastStep):
    """A position embedding with eight entries is added, which fits at most eight steps."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(8, EMBEDDING)

    def embed(self, tokens: Tensor) -> Tensor:
        places: Tensor = self.places(torch.arange(tokens.size(1), device=tokens.device))
        return super().embed(tokens) + places


@seen_by("model.batch-of-one")
class BatchSqueezed(LastStep):
    """`squeeze()` also removes the batch axis of a batch of one."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).squeeze()


@seen_by("model.length-of-one")
class StepsSqueezed(EveryStep):
    """`squeeze(1)`, meant for another axis, removes the time axis of a single step."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).squeeze(1)


@seen_by("model.length-of-one")
class SpreadOverSteps(LastStep):
    """The features are divided by their standard deviation over the steps, which is NaN for a
    single step.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.mean(1) / output.std(1)


@seen_by("model.vocabulary")
class IdsClamped(LastStep):
    """Ids outside the vocabulary are silently replaced by the nearest valid id."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens.clamp(0, VOCABULARY - 1))


@seen_by("model.vocabulary")
class IdsWrapped(LastStep):
    """Ids outside the vocabulary are silently taken modulo its size."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens % VOCABULARY)


@seen_by("model.vocabulary")
class RowTooMany(LastStep):
    """The embedding weight is indexed directly, so that a negative id counts from the end."""

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embedding.weight[tokens]
