"""Planted bugs in repeated calls: state that a call leaves behind for the next."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.call import Batches, Here, cut_steps, is_ragged, pad_steps
from rnnspec.selftest.bugs.planted import Planted, Planter, change_states, zero_after
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


def lose_remainder(units: Tensor) -> Tensor:
    """Return units with zeros for the remainder after giving each thread equally many."""
    return zero_after(units.size(-1) // torch.get_num_threads() * torch.get_num_threads(), units)


RemainderOfThreadsLost = plant(
    "The units that are left over when the hidden size is divided among the threads stay zero.",
    "modules.second-call",
    change_states("updated", lose_remainder),
    report="MNN #1305",
    narrow=True,
)


@seen_by("modules.second-call side-effects.repeatable", report="tensorflow #29506", narrow=True)
class RemembersState(Planted):
    """Without `h_0`, a call starts from the final state of the previous call."""

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


def fit_first_batch(state: Tensor, spot: Here) -> Tensor:
    """Return zeros for the batch size of the first call."""
    batch = spot.module.__dict__.setdefault("batch", state.size(1))
    return state.new_zeros(state.size(0), batch, state.size(2))


BatchSizeBaked = plant(
    "Without `h_0`, every call creates its initial state for the batch size of the first call.",
    "modules.second-call",
    change_states("default", fit_first_batch),
    report="pytorch #15319",
    narrow=True,
)


def count_call(data: Tensor, spot: Here) -> Tensor:
    """Return the input of a call, and count the calls."""
    spot.module.__dict__["calls"] = read_count(spot) + 1
    return data


def read_count(spot: Here) -> int:
    """Return the number of calls, including the present call."""
    calls: int = spot.module.__dict__.get("calls", 0)
    return calls


ThirdCallDiffers = plant(
    "From the third call on, the biases are added twice.",
    "modules.second-call",
    {
        "input": count_call,
        "biases": lambda biases, spot: biases * (1 if read_count(spot) < 3 else 2),
    },
    narrow=True,
)


@seen_by("modules.second-call", report="pytorch #41774", beyond_cells=True, narrow=True)
class PackedBatchSizeBaked(Planted):
    """With packed input, `h_n` is all zeros if the batch size differs from the first call."""

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        first: int = self.__dict__.setdefault("first", states.size(1))
        return super().unsort_states(states if states.size(1) == first else states * 0, indices)


def starts_frozen(spot: Here) -> bool:
    """Return whether all parameters were frozen during the first call."""
    learns = any(parameter.requires_grad for parameter in spot.module.parameters())
    frozen: bool = spot.module.__dict__.setdefault("frozen", not learns)
    return frozen


FrozenForGood = plant(
    "If all parameters are frozen during the first call, the biases never receive gradients.",
    "modules.second-call",
    {"biases": lambda biases: [bias.detach() for bias in biases]},
    where=starts_frozen,
    narrow=True,
)


@seen_by("modules.second-call", narrow=True)
class RemembersByAddress(Planted):
    """Results are cached by the address and shape of the input, so input that is overwritten in
    place gives the old results.
    """

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        kept = self.__dict__.setdefault("kept", {})
        place = (input.data_ptr(), tuple(input.shape), torch.is_grad_enabled())
        if place not in kept:
            kept[place] = (input, super().forward_tensor(input, hx))
        result: tuple[Tensor, Tensor] = kept[place][1]
        return result


@seen_by(
    "modules.second-call packed.padding", report="pytorch #15319", beyond_cells=True, narrow=True
)
class PlanByTotals(Planted):
    """A packed call uses the lengths of an earlier call if the number of sequences and the total
    length are the same.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        plans = self.__dict__.setdefault("plans", {})
        return super().compute(data, plans.setdefault((len(data), sizes[0]), sizes), start)


@seen_by("modules.second-call", beyond_cells=True, narrow=True)
class LengthsKept(Planted):
    """After a call with packed input, padded input with as many steps and sequences ends where the
    packed sequences ended.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        kept: Batches = self.__dict__.get("sizes", ())
        self.__dict__["sizes"] = sizes if is_ragged(sizes) else kept
        if is_ragged(sizes) or len(kept) != len(sizes) or kept[0] != sizes[0]:
            return super().compute(data, sizes, start)
        rows = cut_steps(pad_steps(data, sizes), kept)
        output, h_n = super().compute(rows, kept, start)
        return pad_steps(output, kept).flatten(0, 1), h_n


FirstStateGradientLost = plant(
    "In the first call, `h_0` receives no gradient.",
    "gradients.h-0",
    {
        "input": count_call,
        **change_states(
            "initial", lambda state, spot: state.detach() if read_count(spot) == 1 else state
        ),
    },
    report="JuliaGPU/CuArrays PR #706",
)
plant.name_classes(globals())
