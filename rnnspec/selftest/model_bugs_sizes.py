"""Models with a planted bug that shows only if two sizes are equal, or in batches of some size.

Each infers the meaning of a dimension from its size.
"""

from __future__ import annotations

from torch import Tensor

from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_bugs_lengths import OfLengths
from rnnspec.selftest.model_correct import FromFeatures
from rnnspec.selftest.model_plain import HIDDEN, OUTPUTS, EveryStep, LastStep


@seen_by("model.same-in-any-batch")
class SquareBatchTransposed(LastStep):
    """A batch with as many samples as steps is mistaken for a batch with the steps first."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens.t() if tokens.size(0) == tokens.size(1) else tokens)


@seen_by("model.same-in-any-batch")
class LayoutByLengths(OfLengths):
    """A dimension whose size is the number of lengths is mistaken for the batch, whatever comes
    first.
    """

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(tokens.t() if tokens.size(1) == len(lengths) else tokens, lengths)


@seen_by("model.same-in-any-batch")
class RowsTakenForSamples(LastStep, options={"num_layers": 2}):
    """h_n is mistaken for a batch-first tensor if it has as many rows as there are samples."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[:, -1] if states.size(0) == output.size(0) else states[-1]


@seen_by("model.same-in-any-batch")
class SamplesTakenForUnits(LastStep):
    """The features of as many samples as there are hidden units are transposed."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features.t() if len(features) == HIDDEN else features)


@seen_by("model.same-in-any-batch")
class OutputsTakenForSamples(LastStep):
    """The predictions for as many samples as there are outputs are transposed."""

    def predict(self, features: Tensor) -> Tensor:
        prediction = super().predict(features)
        return prediction.t() if len(prediction) == OUTPUTS else prediction


@seen_by("model.same-in-any-batch")
class DividedByBatch(LastStep):
    """The features are divided by the number of samples, as a loss is."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[-1] / len(output)


@seen_by("model.same-at-any-length")
class StepsTakenForFeatures(FromFeatures):
    """Input with as many steps as features is mistaken for input with the features first."""

    def forward(self, features: Tensor) -> Tensor:
        is_first = features.size(1) == self.lower.input_size
        return super().forward(features.transpose(1, 2) if is_first else features)


@seen_by("model.same-at-any-length")
class StepsTakenForUnits(EveryStep):
    """The outputs for as many steps as there are hidden units are transposed."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.transpose(1, 2) if output.size(1) == HIDDEN else output
