"""What a refused call leaves behind: arguments, parameters, random numbers, settings, and the next call."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import Distribution, Feature, Layout, MemoryLayout
from rnnspec.observe.call import Surroundings
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import has_same_bits
from rnnspec.rulekit.assertions.results import assert_results
from rnnspec.rulekit.rejections.calls import WrongCall, provoke_rejection
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Failure, Unsupported

SNIPPET = Snippet("""wrong = ({arguments},)
tensors = [*layer.parameters(), *(tensor for tensor in wrong if isinstance(tensor, torch.Tensor))]
copies = [tensor.detach().clone() for tensor in tensors]
before = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_rng_state().tolist()
try:
    layer(*wrong)
except Exception:
    pass
assert before == (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_rng_state().tolist())
assert all(map(torch.equal, copies, tensors))
layer(*given)""")


def describe_side_effects(
    observation: Observation, prepared: PreparedLayer, wrong: WrongCall
) -> str:
    """What a call that is refused has changed, in words, or nothing; nothing too where it is accepted."""
    watched = dict(_watched(prepared, wrong))
    copies = {name: tensor.detach().clone() for name, tensor in watched.items()}
    noted: list[Surroundings] = []
    device = torch.device(observation.subject.device)
    with observation.case.grad_mode.enter():
        before = Surroundings.now(device)
        error = provoke_rejection(prepared, wrong, lambda: noted.append(Surroundings.now(device)))
    if error is None:
        return ""
    changed = [
        name for name, tensor in watched.items() if not has_same_bits(copies[name], tensor.detach())
    ]
    return (
        _around(before, noted[0])
        or (f"{changed[0]} has changed" if changed else "")
        or _afterwards(observation, prepared)
    )


def _watched(prepared: PreparedLayer, wrong: WrongCall) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a refused call could write to, by name."""
    yield "the input", wrong.input.data if isinstance(wrong.input, PackedSequence) else wrong.input
    if wrong.h_0 is not None:
        yield "the initial state", wrong.h_0
    yield from prepared.weights().items()


def _around(before: Surroundings, after: Surroundings) -> str:
    """The first setting or random number generator that has changed."""
    for (name, old), (_, new) in zip(before.settings, after.settings, strict=True):
        if old != new:
            return f"{name} has changed from {old} to {new}"
    drawn = before.drawn(after)
    return f"the random number generator of {drawn[0]} was used" if drawn else ""


def _afterwards(observation: Observation, prepared: PreparedLayer) -> str:
    """What is wrong with the next call, of the same layout or another, where it is right without the refused one."""
    for without in (observation, *_in_another_layout(observation)):
        fault = _fault(Observation(observation.subject, without.case, without.values, prepared))
        if fault and not _fault(without):
            return f"the next call, {without.case.layout}, is wrong: {fault}"
    return ""


def _in_another_layout(observation: Observation) -> list[Observation]:
    """The same layer called with a batch where it was called without, and without where it was called with one."""
    if not observation.subject.offers(Feature.UNBATCHED):
        return []
    case = observation.case.replace(
        layout=Layout.UNBATCHED if observation.case.is_batched else Layout.BATCHED,
        distribution=Distribution.PLAIN,
        memory_layout=MemoryLayout.CONTIGUOUS,
    )
    return [observation.new_layer(case, weights=observation.values.weights)]


def _fault(following: Observation) -> str:
    try:
        _ = following.output, following.h_n
        if not following.case.is_random:
            assert_results(following)
    except Unsupported:
        raise
    except (Violation, Failure) as fault:
        return str(fault)
    return ""
