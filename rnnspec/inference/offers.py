"""What an adapted layer cannot be called with: packed and single sequences, other dtypes."""

from __future__ import annotations

import textwrap
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.adapters.adapter import Adapter
from rnnspec.contract.config import Config
from rnnspec.inference.trial import BATCH, HIDDEN_SIZE, INPUT_SIZE, STEPS
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.subject import observe_step

OTHER_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
LENGTHS = [STEPS, *[1] * (BATCH - 1)]
PACKED_CALL = "a call with packed input"
MOST_CHARACTERS = 84
CLOSE = 1e-2
"""Results of the order of 1 that differ by more than this are not the same in any dtype."""
UNBATCHED_CALL = "a call with a single sequence"


def list_lacking(adapter: Adapter, dtype: torch.dtype) -> dict[str, str]:
    """Return the features that a layer lacks, with reasons, by trying them.

    `dtype` is one in which it can be called.
    """
    config = Config(INPUT_SIZE, HIDDEN_SIZE, **dict(adapter.fixed), kind=adapter.kind.name)
    found = {}
    if said := _try_packed(adapter, config, dtype):
        found["packed"] = shorten(said)
    if said := _try_unbatched(adapter, config, dtype):
        found["unbatched"] = shorten(said)
    for other in OTHER_DTYPES:
        name = str(other).removeprefix("torch.")
        if other is not dtype and (said := _try_dtype(adapter, config, other, name)):
            found[name] = shorten(said)
    return found


def shorten(text: str) -> str:
    """Return a reason in the length of a line."""
    return textwrap.shorten(text, MOST_CHARACTERS, placeholder=" ...")


def _call(adapter: Adapter, config: Config, dtype: torch.dtype, given: Any, step: str) -> Any:
    with observe_step(step), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return adapter(**config.arguments).to(dtype).eval()(given)


def _try_packed(adapter: Adapter, config: Config, dtype: torch.dtype) -> str:
    packed = pack_padded_sequence(torch.ones(STEPS, BATCH, INPUT_SIZE, dtype=dtype), LENGTHS)
    try:
        output, _ = _call(adapter, config, dtype, packed, PACKED_CALL)
    except Failure as failure:
        return str(failure)
    return "" if isinstance(output, PackedSequence) else f"{PACKED_CALL} returns a tensor"


def _try_unbatched(adapter: Adapter, config: Config, dtype: torch.dtype) -> str:
    x = torch.rand(STEPS, INPUT_SIZE, dtype=torch.float64, generator=torch.Generator()).to(dtype)
    batch = 0 if config.batch_first else 1
    try:
        with observe_step(UNBATCHED_CALL), torch.no_grad(), torch.random.fork_rng(devices=[]):
            layer = adapter(**config.arguments).to(dtype).eval()
            output, finals = layer(x)
            in_batch = layer(x.unsqueeze(batch))[0].squeeze(batch)
    except Failure as failure:
        return str(failure)
    rows, units = config.num_layers * config.num_directions, config.output_size
    expected = {"output": (STEPS, config.num_directions * units)}
    expected |= dict.fromkeys(config.kind_data.final, (rows, units))
    ends = finals if isinstance(finals, tuple) else (finals,)
    for (name, shape), result in zip(expected.items(), (output, *ends), strict=True):
        if tuple(result.shape) != shape:
            return f"{UNBATCHED_CALL} returns {name} of shape {tuple(result.shape)}"
    if not torch.allclose(output, in_batch, atol=CLOSE):
        return f"{UNBATCHED_CALL} returns other numbers than in a batch"
    return ""


def _try_dtype(adapter: Adapter, config: Config, dtype: torch.dtype, name: str) -> str:
    x = torch.ones(BATCH, STEPS, INPUT_SIZE, dtype=dtype)
    try:
        _call(adapter, config, dtype, x, f"a call in {name}")
    except Failure as failure:
        return str(failure)
    return ""
