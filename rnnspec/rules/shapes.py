"""What a call returns: a pair, its shapes in every layout, its dtype and device, and the batch of no sequences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import Feature, GradMode, MemoryLayout
from rnnspec.contract.shapes import output_shape, state_shape
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.conditions import batched, one_in
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.subject import observing

PAIR = Snippet("""result = layer(*given)
assert isinstance(result, (tuple, list)) and len(result) == 2
assert isinstance(result[0], type(given[0])) and isinstance(result[1], torch.Tensor)""")


@rule("rnn.output.pair")
def returns_pair(observation: Observation) -> None:
    """A call returns the pair of output and h_n.

    What came back is a tuple or list of two: output, a tensor or packed as the input is, and a tensor.

    Catches outputs alone, states in a tuple of their own, and further results.
    """
    returned = observation.call.returned
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise Violation(
            f"a call returned {_told(returned)}, expected the pair of output and h_n", PAIR
        )
    expected = PackedSequence if observation.case.is_packed else Tensor
    for name, result, kind in (("output", returned[0], expected), ("h_n", returned[1], Tensor)):
        if not isinstance(result, kind):
            raise Violation(f"{name} is {_told(result)}, expected a {kind.__name__}", PAIR)


def _told(value: object) -> str:
    return (
        f"a {type(value).__name__} of {len(value)}"
        if isinstance(value, (tuple, list))
        else f"a {type(value).__name__}"
    )


@rule(
    "rnn.output.shape.unbatched",
    "rnn.output.shape.batched",
    "rnn.output.shape.batch-first",
    "rnn.output.packed",
    "rnn.symbols",
)
def output(observation: Observation) -> None:
    """Output has shape (L, N, D * H), with batch_first (N, L, D * H), unbatched (L, D * H), and packed a row for every step of a sequence.

    The shape that came back, compared with the shape algebra of the documentation.

    Catches one direction's width for two, joined or exchanged axes, axes of size 1 that are lost or left.
    """
    found = tuple(data_of(observation.call.raw_output).shape)
    if found != observation.call.output_shape:
        name = "the data of output" if observation.case.is_packed else "output"
        raise Violation(
            f"{name} has shape {found}, expected {observation.call.output_shape}",
            _shaped("data(layer(*given)[0])", observation.call.output_shape),
        )


@rule("rnn.h_n.shape.batched", "rnn.h_n.shape.unbatched", "rnn.symbols")
def h_n(observation: Observation) -> None:
    """h_n has shape (D * num_layers, N, H), and (D * num_layers, H) for a single sequence, whatever batch_first says.

    The shape that came back, compared with the shape algebra of the documentation.

    Catches states of one direction, layer or sample only, batch-first states, axes that are lost or split.
    """
    found = tuple(observation.call.raw_h_n.shape)
    if found != observation.call.h_n_shape:
        raise Violation(
            f"h_n has shape {found}, expected {observation.call.h_n_shape}",
            _shaped("layer(*given)[1]", observation.call.h_n_shape),
        )


def _shaped(result: str, shape: tuple[int, ...]) -> Snippet:
    uses = (Helper.DATA,) if result.startswith("data(") else ()
    return Snippet(f"assert tuple({result}.shape) == {shape}", uses)


def data_of(result: Tensor | PackedSequence) -> Tensor:
    """A result's tensor, its data where it is packed."""
    return result.data if isinstance(result, PackedSequence) else result


@rule("rnn.recurrence.dtypes")
def dtype(observation: Observation) -> None:
    """Results have the dtype and the device of the parameters.

    Both results of every call are looked at.

    Catches states carried in a wider dtype that come back so, and results that are left on another device.
    """
    due = observation.case.dtype.torch_dtype
    for name, result, place in (
        ("output", data_of(observation.call.raw_output), 0),
        ("h_n", observation.call.raw_h_n, 1),
    ):
        if result.dtype != due:
            raise Violation(
                f"{name} is {result.dtype}, expected {due}",
                Snippet(f"assert data(layer(*given)[{place}]).dtype == {due}", (Helper.DATA,)),
            )
        if result.device != observation.call.given.leaf.device:
            device = observation.call.given.leaf.device
            raise Violation(
                f"{name} is on {result.device}, expected {device}",
                Snippet(f"assert data(layer(*given)[{place}]).device == x.device", (Helper.DATA,)),
            )


EMPTY = Snippet("""empty = x.detach().narrow({axis}, 0, 0)
output, h_n = layer(empty)
assert (tuple(output.shape), tuple(h_n.shape)) == {shapes}
if torch.is_grad_enabled():
    (output.sum() + h_n.sum()).backward()""", (Helper.BACKWARD,))


@rule("rnn.input.empty-batch", when=batched & one_in(3))
def empty_batch(observation: Observation) -> None:
    """A batch of no sequences is accepted and gives results with an empty batch axis, backward included.

    The case's layer is called on no sequences, with a state for none where the case gives one; shapes are compared, and the sum of the
    results is differentiated.

    Catches refusals, states for one sequence all the same, and backward passes that fail.
    """
    empty = observation.second_call_as(observation.case.replace(batch=0, memory_layout=MemoryLayout.CONTIGUOUS))
    case = empty.case
    due = (output_shape(case.config, case.shape), state_shape(case.config, case.shape))
    snippet = EMPTY.format(axis=0 if case.config.batch_first else 1, shapes=due)
    try:
        found = (tuple(data_of(empty.call.raw_output).shape), tuple(empty.call.raw_h_n.shape))
        if found == due and case.grad_mode is GradMode.GRAD and observation.subject.offers(Feature.GRADIENTS):
            _differentiate(empty)
    except Raised as raised:
        raise Violation(f"no sequences: {raised}", snippet) from raised
    if found != due:
        raise Violation(f"no sequences give shapes {found}, expected {due}", snippet)


def _differentiate(empty: Observation) -> None:
    """Run backward from both results to the input and the parameters."""
    leaves = [
        empty.call.given.leaf,
        *(weight for weight in empty.prepared.weights().values() if weight.requires_grad),
    ]
    with observing("backward"):
        total = data_of(empty.call.raw_output).sum() + empty.call.raw_h_n.sum()
        torch.autograd.grad(total, leaves, allow_unused=True)
