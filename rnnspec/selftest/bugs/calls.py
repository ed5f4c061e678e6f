"""Planted bugs in repeated calls: what one call leaves behind for the next."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.selftest.bugs.planted import Planted, is_ragged, pad_steps, unpad_steps
from rnnspec.selftest.seen import seen_by


@seen_by("modules.second-call", report="MNN #1305")
class RemainderOfThreadsLost(Planted):
    """The units that are left over when the hidden size is divided among the threads stay zero."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        states = super().step(x, h, weight, layer, t).split(self.hidden_size, dim=-1)
        return torch.cat([self.lose_remainder(each) for each in states], dim=-1)

    def lose_remainder(self, units: Tensor) -> Tensor:
        done = units.size(-1) // torch.get_num_threads() * torch.get_num_threads()
        return torch.cat([units[..., :done], torch.zeros_like(units[..., done:])], dim=-1)


@seen_by("modules.second-call", "side-effects.repeatable", report="tensorflow #29506")
class RemembersState(Planted):
    """Without `h_0`, a call starts from the final state of the previous call."""

    narrow = True

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        remembered: Tensor | None = self.__dict__.get("remembered")
        output, h_n = super().forward(
            input, remembered if hx is None and self.can_start_from(input, remembered) else hx
        )
        self.__dict__["remembered"] = h_n.detach()
        return output, h_n

    def can_start_from(self, input: Tensor | PackedSequence, remembered: Tensor | None) -> bool:
        """Return whether the remembered state can be used for this input."""
        if (
            remembered is None
            or isinstance(input, PackedSequence)
            or input.dim() != 3
            or remembered.dtype != input.dtype
        ):
            return False
        return remembered.dim() == 3 and remembered.size(1) == input.size(
            0 if self.batch_first else 1
        )


@seen_by("modules.second-call", report="pytorch #15319")
class BatchSizeBaked(Planted):
    """Without `h_0`, every call creates its initial state for the batch size of the first call."""

    narrow = True

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return super().default_states(input, self.__dict__.setdefault("batch", batch))


@seen_by("modules.second-call")
class ThirdCallDiffers(Planted):
    """From the third call on, the biases are added twice."""

    narrow = True
    calls = 0

    def run(self, *args: Any) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().run(*args)

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction) * (1 if self.calls < 3 else 2)


@seen_by("modules.second-call", report="pytorch #41774")
class PackedBatchSizeBaked(Planted):
    """With packed input, `h_n` is all zeros if the batch size differs from that of the first
    call.
    """

    beyond_cells = True
    narrow = True

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        first: int = self.__dict__.setdefault("first", states.size(1))
        return super().unsort_states(states if states.size(1) == first else states * 0, indices)


@seen_by("modules.second-call")
class FrozenForGood(Planted):
    """If all parameters are frozen during the first call, the biases never receive gradients."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        frozen = self.__dict__.setdefault(
            "frozen", not any(parameter.requires_grad for parameter in self.parameters())
        )
        return (
            [bias.detach() for bias in super().biases(layer, direction)]
            if frozen
            else super().biases(layer, direction)
        )


@seen_by("modules.second-call")
class RemembersByAddress(Planted):
    """Results are cached by the address and shape of the input, so input that is overwritten in
    place gives the old results.
    """

    narrow = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        kept = self.__dict__.setdefault("kept", {})
        place = (input.data_ptr(), tuple(input.shape), torch.is_grad_enabled())
        if place not in kept:
            kept[place] = (input, super().forward_tensor(input, hx))
        result: tuple[Tensor, Tensor] = kept[place][1]
        return result


@seen_by("modules.second-call", "packed.padding", report="pytorch #15319")
class PlanByTotals(Planted):
    """A packed call uses the lengths of an earlier call if the number of sequences and the total
    length are the same.
    """

    beyond_cells = True
    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Any, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        plans = self.__dict__.setdefault("plans", {})
        return super().run_direction(
            data, plans.setdefault((len(data), len(h)), sizes), h, layer, direction
        )


@seen_by("modules.second-call")
class LengthsKept(Planted):
    """After a call with packed input, padded input with as many steps and sequences ends where the
    packed sequences ended.
    """

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Any, h_0: Tensor) -> tuple[Tensor, Tensor]:
        kept: Any = self.__dict__.get("sizes", ())
        self.__dict__["sizes"] = tuple(sizes) if is_ragged(sizes) else kept
        if is_ragged(sizes) or len(kept) != len(sizes) or kept[0] != sizes[0]:
            return super().run(data, sizes, h_0)
        output, h_n = super().run(unpad_steps(data, kept), kept, h_0)
        return pad_steps(output, kept), h_n


@seen_by("gradients.h-0", report="JuliaGPU/CuArrays PR #706")
class FirstStateGradientLost(Planted):
    """In the first call, `h_0` receives no gradient."""

    calls = 0

    def run(self, data: Tensor, sizes: Any, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().run(data, sizes, h_0.detach() if self.calls == 1 else h_0)
