"""Planted bugs in stacked layers: what a layer reads from the layer below."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged


class UpperLayersBatchMajor(Planted):
    """Layers above the first read the layer below with batch and time swapped (exe1023/LSTM_LN #1);
    stacking.composition or samples.independent or samples.permuted sees it."""

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if not layer or is_ragged(sizes):
            return read
        return as_steps(read, sizes).transpose(0, 1).reshape(read.shape)


class UpperLayersTurnedRound(Planted):
    """With `batch_first` and relu, layers above the first read the layer below with batch and time
    swapped (oneDNN #784); stacking.composition sees it."""

    narrow = True
    ungated = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if not (layer and self.batch_first and self.nonlinearity == "relu") or is_ragged(sizes):
            return read
        return as_steps(read, sizes).transpose(0, 1).reshape(read.shape)


class EveryLayerReadsInput(Planted):
    """If the input is as wide as the output of a layer, every layer reads the input;
    stacking.composition sees it."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if self.input_size != self.directions * self.hidden_size:
            return super().run(data, sizes, h_0)
        results = [self.run_layer(data, sizes, h_0, layer) for layer in range(self.num_layers)]
        return results[-1][0], self.stack_states(
            [state for _, states in results for state in states]
        )


class ThirdLayerSkipsSecond(Planted):
    """The third layer reads the output of the first layer instead of the second;
    stacking.composition sees it."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        outputs, states = [data], list[Tensor]()
        for layer in range(self.num_layers):
            read = outputs[1] if layer == 2 else outputs[-1]
            output, last = self.run_layer(self.layer_input(read, sizes, layer), sizes, h_0, layer)
            outputs.append(output)
            states += last
        return self.finish_output(outputs[-1], sizes), self.stack_states(states)


class DeepLayersShareWeights(Planted):
    """Layers above the second use the parameters of the second layer;
    stacking.composition sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        return super().parameter(kind, min(layer, 1), direction)


class LayersByName(Planted):
    """`weight_hh` is chosen in alphabetical order, in which layer 10 comes before layer 2 (pytorch
    #6627); stacking.composition or stacking.own-parameters
    sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return super().recurrent_weight(sorted(range(self.num_layers), key=str)[layer], direction)


class ManyLayersRefused(Planted):
    """A layer with `num_layers` above 10 raises an error (pytorch #877);
    recurrence.output or stacking.own-parameters or stacking.composition sees it."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if self.num_layers > 10:
            raise RecursionError("too many layers")
        return super().run(data, sizes, h_0)


class DeepStackSkipsLayer(Planted):
    """With 6 to 10 layers, the last layer reads what the layer below it reads;
    stacking.composition sees it."""

    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        below = self.__dict__.get("below")
        self.__dict__["below"] = read
        is_last = layer == self.num_layers - 1
        return below if below is not None and is_last and 6 <= self.num_layers <= 10 else read
