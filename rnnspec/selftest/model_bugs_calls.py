"""Models with a planted bug in time steps, devices, dtypes, modes, repeated calls or gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_plain import HIDDEN, OUTPUTS, EveryStep, LastStep


@seen_by("model.causal")
class TimeFlipped(EveryStep):
    """The token ids are read in reverse, and the outputs are not reversed back."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens.flip(1))


@seen_by("model.causal")
class OneStepAhead(EveryStep):
    """The outputs are shifted by a step, so that each prediction depends on the next id."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.roll(-1, 1)


@seen_by("model.sees-both-directions")
class PrefixByPrefix(EveryStep, options={"bidirectional": True}, width=2 * HIDDEN):
    """A bidirectional layer runs on each prefix, so that no prediction depends on a later id."""

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        calls = [self.rnn(embedded[:, : step + 1]) for step in range(embedded.size(1))]
        return torch.stack([output[:, -1] for output, _ in calls], dim=1), calls[-1][1]


@seen_by("model.readouts-agree")
class OtherHeadForEveryStep(LastStep):
    """With `all_steps`, the predictions skip a tanh that the last-step read-out applies."""

    all_steps = False

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output if self.all_steps else output[:, -1].tanh()


@seen_by("model.state-device")
class StateOnDefaultDevice(LastStep):
    """The zero initial state is created on the default device."""

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        output, states = self.rnn(
            embedded, torch.zeros(1, embedded.size(0), HIDDEN, dtype=embedded.dtype)
        )
        return output, states


@seen_by("model.state-dtype")
class StateInFloat32(LastStep):
    """The zero initial state is created in the default dtype."""

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        output, states = self.rnn(
            embedded, torch.zeros(1, embedded.size(0), HIDDEN, device=embedded.device)
        )
        return output, states


@seen_by("model.float64")
class EmbeddedInFloat32(LastStep):
    """The embedded input is converted to float32, whatever the dtype of the model."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens).float()


@seen_by("model.float64")
class ThroughFloat32(LastStep):
    """The features are converted to float32 and back, so that a float64 model loses half its
    digits.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output, states).float().to(output.dtype)


@seen_by("model.gradients-reach")
class OutputDetached(LastStep):
    """The layer's output is detached, so that embedding and layer never learn."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output, states).detach()


@seen_by("model.gradients-reach")
class EmbeddedWithoutGradient(LastStep):
    """The embedding is looked up under `torch.no_grad()`."""

    def embed(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return super().embed(tokens)


@seen_by("model.train-eval")
class ScaledInTraining(LastStep):
    """Predictions are scaled in training mode, even without dropout."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features) * (1.1 if self.training else 1.0)


@seen_by("model.repeatable")
class DropoutInEval(LastStep):
    """Functional dropout is called without `training=self.training` and is also active in eval
    mode.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return nn.functional.dropout(super().read(output, states), 0.5)


@seen_by("model.repeatable")
class RandomState(LastStep):
    """Every call draws a new initial state."""

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.randn(
            1, embedded.size(0), HIDDEN, dtype=embedded.dtype, device=embedded.device
        )
        output, states = self.rnn(embedded, state)
        return output, states


@seen_by("model.repeatable")
class NoisyPrediction(LastStep):
    """A little noise is added to every prediction."""

    def predict(self, features: Tensor) -> Tensor:
        prediction = super().predict(features)
        return prediction + 1e-6 * torch.randn_like(prediction)


@seen_by("model.repeatable")
class StateCarried(LastStep):
    """The final state becomes the initial state of the next call if the batch size fits."""

    state: Tensor | None = None

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        fits = (
            self.state is not None
            and self.state.size(1) == embedded.size(0)
            and self.state.dtype == embedded.dtype
        )
        output, states = self.rnn(embedded, self.state if fits else None)
        self.state = states.detach()
        return output, states


@seen_by("model.repeatable")
class CallsCounted(LastStep):
    """A bias grows with every call."""

    calls = 0

    def predict(self, features: Tensor) -> Tensor:
        self.calls += 1
        return super().predict(features) + 0.01 * self.calls


@seen_by("model.state-dict")
class OutsideStateDict(LastStep):
    """A scale that is drawn at construction is missing from the state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0 + torch.rand(OUTPUTS)

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features) * self.scale.to(features)


@seen_by("model.state-dict")
class LayersInList(LastStep):
    """The linear layer is kept in a plain list, so that the state_dict lacks it."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = [self.fc]
        del self.fc

    def predict(self, features: Tensor) -> Tensor:
        head = self.heads[0].to(features)
        prediction: Tensor = head(features)
        return prediction


@seen_by("model.input-kept")
class IdsChanged(LastStep):
    """The call modifies the caller's ids: the first id of each row becomes 1."""

    def embed(self, tokens: Tensor) -> Tensor:
        tokens[:, 0] = 1
        return super().embed(tokens)
