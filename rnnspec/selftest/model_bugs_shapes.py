"""Models with a planted bug in their shapes and sizes, among them the faults of the printed RNN2.

The tutorial's second model, RNN2, does not run as printed; see `AttributeNeverSet` and
`DoubledFeatures`.
"""

# ruff: noqa: D102  (the class docstring says what its methods do wrong)

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, VOCABULARY, EveryStep, LastStep


class AttributeNeverSet(EveryStep):
    """The zero state is created from `self.hidden_size`, which is never set;
    model.output-shape sees it.
    """

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.zeros(
            1, embedded.size(0), self.hidden_size, dtype=embedded.dtype, device=embedded.device
        )  # type: ignore[call-overload]
        output, states = self.rnn(embedded, state)
        return output, states


class DoubledFeatures(EveryStep):
    """The linear layer expects twice the features that a unidirectional layer returns;
    model.output-shape sees it.
    """

    width: ClassVar[int] = 2 * HIDDEN


class BothFaults(AttributeNeverSet):
    """Both faults of the printed RNN2: an attribute that is never set, and twice the features;
    model.output-shape sees it.
    """

    width: ClassVar[int] = 2 * HIDDEN


class StepDropped(EveryStep):
    """There is no prediction for the first step, although the caller expects one at every step;
    model.output-shape sees it.
    """

    given: ClassVar[dict[str, Any]] = {"call": "model(x)", "readout": "every"}

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features)[:, 1:]


class BatchAxisDropped(LastStep):
    """The prediction is averaged over the samples and has shape (outputs,);
    model.output-shape sees it.
    """

    given: ClassVar[dict[str, Any]] = {"call": "model(x)", "readout": "last"}

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).mean(0)


class BatchOfTheFirstCall(LastStep):
    """The zero state is created at the first call and kept, with that call's batch size;
    model.batch-sizes sees it.
    """

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        if not hasattr(self, "state"):
            self.state = embedded.new_zeros(1, embedded.size(0), HIDDEN)
        output, states = self.rnn(embedded, self.state)
        return output, states


class RowsOfTheFirstBatch(LastStep):
    """Predictions beyond the size of the first batch are dropped; model.batch-sizes sees it."""

    limit: int | None = None

    def predict(self, features: Tensor) -> Tensor:
        self.limit = self.limit or features.size(0)
        return super().predict(features)[: self.limit]


class StepsFlattened(LastStep):
    """The outputs of all steps are concatenated, which fits only five steps;
    model.lengths sees it.
    """

    width: ClassVar[int] = 5 * HIDDEN

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.flatten(1)


class TableOfPositions(LastStep):
    """A position embedding with eight entries is added, which fits at most eight steps;
    model.lengths sees it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(8, EMBEDDING)

    def embed(self, tokens: Tensor) -> Tensor:
        places: Tensor = self.places(torch.arange(tokens.size(1), device=tokens.device))
        return super().embed(tokens) + places


class BatchSqueezed(LastStep):
    """`squeeze()` also removes the batch axis of a batch of one; model.batch-of-one sees it."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).squeeze()


class StepsSqueezed(EveryStep):
    """`squeeze(1)`, meant for another axis, removes the time axis of a single step;
    model.length-of-one sees it.
    """

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).squeeze(1)


class SpreadOverSteps(LastStep):
    """The features are divided by their standard deviation over the steps, which is NaN for a
    single step;
    model.length-of-one sees it.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.mean(1) / output.std(1)


class IdsClamped(LastStep):
    """Ids outside the vocabulary are silently replaced by the nearest valid id;
    model.vocabulary sees it.
    """

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens.clamp(0, VOCABULARY - 1))


class IdsWrapped(LastStep):
    """Ids outside the vocabulary are silently taken modulo its size; model.vocabulary sees it."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens % VOCABULARY)


class RowTooMany(LastStep):
    """The embedding weight is indexed directly, so that a negative id counts from the end;
    model.vocabulary sees it.
    """

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embedding.weight[tokens]


BUGS: tuple[type[LastStep], ...] = (
    AttributeNeverSet,
    DoubledFeatures,
    BothFaults,
    StepDropped,
    BatchAxisDropped,
    BatchOfTheFirstCall,
    RowsOfTheFirstBatch,
    StepsFlattened,
    TableOfPositions,
    BatchSqueezed,
    StepsSqueezed,
    SpreadOverSteps,
    IdsClamped,
    IdsWrapped,
    RowTooMany,
)
