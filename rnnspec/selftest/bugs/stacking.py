"""Planted bugs in stacked layers: what a layer reads from the layer below."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged
from rnnspec.selftest.seen import seen_by


@seen_by(
    "stacking.composition", "samples.independent", "samples.permuted", report="exe1023/LSTM_LN #1"
)
class UpperLayersBatchMajor(Planted):
    """Layers above the first read the layer below with batch and time swapped."""

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if not layer or is_ragged(sizes):
            return read
        return as_steps(read, sizes).transpose(0, 1).reshape(read.shape)


@seen_by("stacking.composition", report="oneDNN #784")
class UpperLayersTurnedRound(Planted):
    """With `batch_first` and relu, layers above the first read the layer below with batch and time
    swapped.
    """

    narrow = True
    ungated = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if not (layer and self.batch_first and self.nonlinearity == "relu") or is_ragged(sizes):
            return read
        return as_steps(read, sizes).transpose(0, 1).reshape(read.shape)


@seen_by("stacking.composition")
class EveryLayerReadsInput(Planted):
    """If the input is as wide as the output of a layer, every layer reads the input."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if self.input_size != self.directions * self.hidden_size:
            return super().run(data, sizes, h_0)
        results = [self.run_layer(data, sizes, h_0, layer) for layer in range(self.num_layers)]
        return results[-1][0], self.stack_states(
            [state for _, states in results for state in states]
        )


@seen_by("stacking.composition")
class ThirdLayerSkipsSecond(Planted):
    """The third layer reads the output of the first layer instead of the second."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        outputs, states = [data], list[Tensor]()
        for layer in range(self.num_layers):
            read = outputs[1] if layer == 2 else outputs[-1]
            output, last = self.run_layer(self.layer_input(read, sizes, layer), sizes, h_0, layer)
            outputs.append(output)
            states += last
        return self.finish_output(outputs[-1], sizes), self.stack_states(states)


@seen_by("stacking.composition")
class DeepLayersShareWeights(Planted):
    """Layers above the second use the parameters of the second layer."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        return super().parameter(kind, min(layer, 1), direction)


@seen_by("stacking.composition", "stacking.own-parameters", report="pytorch #6627")
class LayersByName(Planted):
    """`weight_hh` is chosen in alphabetical order, in which layer 10 comes before layer 2."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return super().recurrent_weight(sorted(range(self.num_layers), key=str)[layer], direction)


@seen_by(
    "recurrence.output", "stacking.own-parameters", "stacking.composition", report="pytorch #877"
)
class ManyLayersRefused(Planted):
    """A layer with `num_layers` above 10 raises an error."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if self.num_layers > 10:
            raise RecursionError("too many layers")
        return super().run(data, sizes, h_0)


@seen_by("stacking.composition")
class DeepStackSkipsLayer(Planted):
    """With 6 to 10 layers, the last layer reads what the layer below it reads."""

    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        below = self.__dict__.get("below")
        self.__dict__["below"] = read
        is_last = layer == self.num_layers - 1
        return below if below is not None and is_last and 6 <= self.num_layers <= 10 else read
