"""Models that make several predictions in a call, with a planted bug in a single prediction."""

from __future__ import annotations

from torch import Tensor, nn

from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_correct_tasks import HIDDEN, IntentAndSlots, MeanAndVariance


@seen_by("readout.complete")
class IntentFromLastStep(IntentAndSlots):
    """The intent is read from the output at the last step, while the slots are right."""

    def read(self, output: Tensor, h_n: Tensor) -> Tensor:
        return output[:, -1]


@seen_by("readout.complete")
class VarianceFromFirstStep(MeanAndVariance):
    """The second prediction is made from the output at the first step."""

    def read(self, output: Tensor, h_n: Tensor) -> Tensor:
        return output[:, 0]


@seen_by("readout.samples")
class IntentsShareSamples(IntentAndSlots):
    """The final states are viewed as if the batch came first, for one of two predictions."""

    def read(self, output: Tensor, h_n: Tensor) -> Tensor:
        return h_n.reshape(output.size(0), -1)


@seen_by("readout.parameters")
class HeadNeverCalled(IntentAndSlots):
    """A third linear layer is built and never called."""

    def __init__(self) -> None:
        super().__init__()
        self.domain = nn.Linear(2 * HIDDEN, 2)


@seen_by("model.causal")
class SlotsPeek(MeanAndVariance):
    """The model makes two predictions, and the prediction at every step reads the next step."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, h_n = self.rnn(self.embedding(tokens))
        return self.mean(h_n[-1]), self.logarithm(output.roll(-1, 1)), h_n
