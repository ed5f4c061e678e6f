"""Planted bugs in the recurrence: the computation of each time step."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rnnspec.plain.call import Here
from rnnspec.reference.values import States
from rnnspec.selftest.bugs.planted import (
    Planter,
    change_tanh,
    is_tanh,
    number_rows,
    use_for_tanh,
    zero_after,
)

plant = Planter(__name__)
StateNeverAdvances = plant(
    "Every time step starts from the initial state.",
    "recurrence.output states.h-n-is-last-output",
    {"carried": lambda carried, first: first},
    report="kkleidal/GridLSTM-PyTorch #1",
)
HiddenBiasLost = plant(
    "`bias_hh` is never added.",
    "recurrence.output recurrence.two-biases",
    {"biases": lambda biases: biases[:1]},
    report="google/flax #5594",
)
InputBiasLost = plant(
    "`bias_ih` is never added.",
    "recurrence.output",
    {"biases": lambda biases: biases[1:]},
    report="patrick-kidger/equinox PR #215",
)
InputBiasTwice = plant(
    "`bias_ih` is added twice, and `bias_hh` never.",
    "recurrence.output recurrence.two-biases",
    {"bias_hh": lambda rows, spot: spot.module.parameter("bias_ih", *spot.place)},
    report="numpy-ml #42",
)
BiasesZeroed = plant(
    "No bias is added if there is more than one layer.",
    "recurrence.output",
    {"biases": lambda biases: []},
    report="pytorch PR #94889",
    where=lambda spot: spot.call.layers > 1,
    beyond_cells=True,
    narrow=True,
)
RecurrentWeightTransposed = plant(
    "The hidden state is multiplied by `weight_hh` instead of its transpose.",
    "recurrence.output",
    {"weight_hh": torch.t},
    ungated=True,
)
SquareInputWeightTransposed = plant(
    "If `weight_ih` is square, the input is multiplied by it instead of its transpose.",
    "recurrence.output",
    {"weight_ih": lambda weight: weight.t() if weight.size(0) == weight.size(1) else weight},
    narrow=True,
)
HiddenSizeForInputSize = plant(
    "Input features beyond the first `hidden_size` are ignored.",
    "recurrence.output",
    {"data": lambda data, spot: zero_after(spot.module.hidden_size, data)},
    report="MNN #556",
    narrow=True,
)
UnitsInOneBlock = plant(
    "Units beyond the 64th are always zero.",
    "recurrence.output",
    change_tanh(partial(zero_after, 64)),
    report="FlagGems PR #5015",
    narrow=True,
)
BiasInOneBlock = plant(
    "The biases are added only to the first 512 rows, counted over all time steps and samples.",
    "recurrence.output",
    {"biases": lambda biases, spot: [bias * (number_rows(spot) <= 512) for bias in biases]},
    report="ROCm/rocm-libraries #10551",
    beyond_cells=True,
    narrow=True,
)
FeaturesInOneBlock = plant(
    "Input features beyond the 128th are ignored.",
    "recurrence.output",
    {"data": partial(zero_after, 128)},
    narrow=True,
)
SamplesInOneBlock = plant(
    "Samples beyond the 16th repeat the first 16.",
    "recurrence.output",
    change_tanh(lambda new: new[torch.arange(len(new), device=new.device) % 16]),
    report="pytorch #177834",
    narrow=True,
)
StepsInOneBlock = plant(
    "From the 33rd time step on, the units of the hidden state are shifted by one.",
    "recurrence.output",
    {"before.h": lambda h: h.roll(1, dims=1)},
    where=lambda spot: spot.time >= 32,
    beyond_cells=True,
    narrow=True,
)
LongSequenceInParts = plant(
    "After 512 steps, the hidden state is zero.",
    "recurrence.output",
    {"before.h": lambda h: 0 * h},
    where=lambda spot: spot.time == 512,
    beyond_cells=True,
    narrow=True,
)
UnalignedUnits = plant(
    "With more than 16 units, the last `hidden_size % 4` units ignore the hidden state.",
    "recurrence.output",
    {
        "weight_hh": lambda weight, spot: zero_after(
            len(weight) - spot.module.hidden_size % 4, weight, dim=0
        )
    },
    where=lambda spot: spot.module.hidden_size > 16,
    narrow=True,
)


def change_first_element(weight: Tensor) -> Tensor:
    """Return a weight whose first element has a relative error of 1e-6."""
    factor = torch.ones_like(weight)
    factor[0, 0] = 1 + 1e-6
    return weight * factor


OneWeightOff = plant(
    "The first element of every `weight_hh` is used with a relative error of 1e-6.",
    "recurrence.output",
    {"weight_hh": change_first_element},
    narrow=True,
)
RationalTanh = plant(
    "tanh is approximated by a quotient of polynomials, accurate to three digits near zero.",
    "recurrence.output",
    use_for_tanh(lambda x: (x * (27 + x * x) / (27 + 9 * (x * x))).clamp(-1, 1)),
    where=is_tanh,
)


def add_next_row(data: Tensor, spot: Here) -> Tensor:
    """Return the rows of all steps, each with a part of the next row added."""
    rows = spot.call.cut(data)
    return spot.call.pad(rows + 1e-5 * torch.cat([rows[1:], rows[-1:]]))


NextStepLeaks = plant(
    "Every input row receives 1e-5 times the next row, which belongs to the next sample or time "
    "step.",
    "recurrence.causal recurrence.output",
    {"data": add_next_row},
    where=lambda spot: spot.layer == 0,
)
WholeSequenceCentred = plant(
    "With more than 32 time steps, 1e-4 times the mean over time is subtracted from the input.",
    "recurrence.output recurrence.causal",
    {"input": lambda x: x - 1e-4 * x.mean(0)},
    where=lambda spot: len(spot.call.sizes) > 32 and not spot.call.is_ragged,
    beyond_cells=True,
    narrow=True,
)
OutputIsLastStep = plant(
    "Every time step of the output repeats the last one.",
    "recurrence.output",
    {"steps.h": lambda h, spot: torch.where(spot.call.alive[-1], h[-1], h)},
    beyond_cells=True,
)
StepsCountedOnBatchAxis = plant(
    "The number of time steps is taken from the batch size, and later outputs are zero.",
    "recurrence.output",
    {
        "order": lambda order, spot: [time for time in order if time < spot.call.sizes[0]],
        "output": lambda output: zero_after(output.size(1), output, dim=0),
    },
    report="ndrplz/ConvLSTM_pytorch PR #5",
    where=lambda spot: not spot.call.is_ragged,
    beyond_cells=True,
    narrow=True,
)


def keep_at_zeros(kept: States, before: States, spot: Here) -> States:
    """Return the states before a step for samples whose input is all zeros."""
    is_used = spot.call.input[spot.time].ne(0.0).any(-1, keepdim=True)
    return {letter: torch.where(is_used, kept[letter], state) for letter, state in before.items()}


ZerosSkippedAsPadding = plant(
    "A step whose input is all zeros is skipped, as padding.",
    "recurrence.output cells.step",
    {"kept": keep_at_zeros},
    where=lambda spot: spot.layer == 0,
    narrow=True,
)
plant.name_classes(globals())
