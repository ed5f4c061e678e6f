"""What a refused call leaves behind: arguments, parameters, random numbers, settings, and the next call."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.judging.computing import results_agree
from rnnspec.judging.violation import Violation
from rnnspec.judging.wrong_calls import WrongCall, refusal
from rnnspec.observe.call import Surroundings, gradient_mode
from rnnspec.observe.observation import Observation
from rnnspec.observe.stage import Stage
from rnnspec.observe.tensors import same_bits
from rnnspec.subjects.failures import Failure, Refused

PROOF = """wrong = ({arguments},)
tensors = [*layer.parameters(), *(tensor for tensor in wrong if isinstance(tensor, torch.Tensor))]
copies = [tensor.detach().clone() for tensor in tensors]
before = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_rng_state().tolist()
try:
    layer(*wrong)
except Exception:
    pass
assert before == (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_rng_state().tolist())
assert all(map(torch.equal, copies, tensors))
layer(*given)"""


def trace(seen: Observation, stage: Stage, wrong: WrongCall) -> str:
    """What a call that is refused has changed, in words, or nothing; nothing too where it is accepted."""
    watched = dict(_watched(stage, wrong))
    copies = {name: tensor.detach().clone() for name, tensor in watched.items()}
    noted: list[Surroundings] = []
    device = torch.device(seen.subject.device)
    with gradient_mode(seen.case.grad):
        before = Surroundings.now(device)
        error = refusal(stage, wrong, lambda: noted.append(Surroundings.now(device)))
    if error is None:
        return ""
    changed = [name for name, tensor in watched.items() if not same_bits(copies[name], tensor.detach())]
    return _around(before, noted[0]) or (f"{changed[0]} has changed" if changed else "") or _afterwards(seen, stage)


def _watched(stage: Stage, wrong: WrongCall) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a refused call could write to, by name."""
    yield "the input", wrong.input.data if isinstance(wrong.input, PackedSequence) else wrong.input
    if wrong.h_0 is not None:
        yield "the initial state", wrong.h_0
    yield from stage.weights().items()


def _around(before: Surroundings, after: Surroundings) -> str:
    """The first setting or random number generator that has changed."""
    for (name, old), (_, new) in zip(before.settings, after.settings, strict=True):
        if old != new:
            return f"{name} has changed from {old} to {new}"
    drawn = before.drawn(after)
    return f"the random number generator of {drawn[0]} was used" if drawn else ""


def _afterwards(seen: Observation, stage: Stage) -> str:
    """What is wrong with the next call, of the same layout or another, where it is right without the refused one."""
    for without in (seen, *_in_another_layout(seen)):
        fault = _fault(Observation(seen.subject, without.case, without.values, stage))
        if fault and not _fault(without):
            return f"the next call, {without.case.layout}, is wrong: {fault}"
    return ""


def _in_another_layout(seen: Observation) -> list[Observation]:
    """The same layer called with a batch where it was called without, and without where it was called with one."""
    if "unbatched" in seen.subject.refused:
        return []
    case = seen.case.altered(layout="unbatched" if seen.case.batched else "batched", values="plain", memory="contiguous")
    return [seen.other(case, weights=seen.values.weights)]


def _fault(following: Observation) -> str:
    try:
        _ = following.output, following.h_n
        if not following.case.random:
            results_agree(following)
    except Refused:
        raise
    except (Violation, Failure) as fault:
        return str(fault)
    return ""
