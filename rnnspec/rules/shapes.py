"""Rules about what a call returns: a pair, with the right shapes, dtype and device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import Feature, GradMode, MemoryLayout
from rnnspec.cases.conditions import is_batched, one_in
from rnnspec.contract.shapes import output_shape, state_shape
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.results import assert_state_shape, write_state_place
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet, write_states
from rnnspec.rulekit.snippets.results import write_results
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Malformed, Raised
from rnnspec.subjects.subject import observe_step

PAIR = Snippet("""result = layer(*given)
expected = reference(*given)
assert isinstance(result, (tuple, list)) and len(result) == 2
assert isinstance(result[0], type(given[0]))
assert isinstance(result[1], torch.Tensor) == isinstance(expected[1], torch.Tensor)
assert len(result[1]) == len(expected[1])""")


@rule("rnn.output.pair", "lstm.output.pair", results=("output",))
def returns_pair(observation: Observation) -> None:
    """A call returns a pair of `output` and `h_n`; an LSTM returns `output` and `(h_n, c_n)`.

    The returned value must be a tuple or list of two elements. The first is a tensor, or a
    PackedSequence if the input is packed. The second is a tensor, or for an LSTM a tuple or list of
    two tensors.

    Catches outputs without a state, states wrapped in a tuple, and additional results.
    """
    returned = observation.call.returned
    kind = observation.case.config.kind_data
    states = write_states(kind.final)
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise Violation(
            f"a call returned {_describe_type(returned)}, expected a pair of output and {states}",
            PAIR,
        )
    if not is_pair(returned[1]) and kind.has_several_states:
        raise Violation(
            f"the second result is {_describe_type(returned[1])}, expected {states}", PAIR
        )
    expected = PackedSequence if observation.case.is_packed else Tensor
    final = returned[1] if kind.has_several_states else (returned[1],)
    found = zip(kind.final, final, strict=True)
    for name, result, type_ in (
        ("output", returned[0], expected),
        *((name, state, Tensor) for name, state in found),
    ):
        if not isinstance(result, type_):
            wanted = type_.__name__
            raise Violation(f"{name} is {_describe_type(result)}, expected a {wanted}", PAIR)


def is_pair(result: object) -> bool:
    """Return whether a result is a tuple or list of length 2."""
    return isinstance(result, (tuple, list)) and len(result) == 2


def _describe_type(returned: object) -> str:
    if isinstance(returned, (tuple, list)) and not isinstance(returned, PackedSequence):
        return f"a {type(returned).__name__} of {len(returned)}"
    return f"a {type(returned).__name__}"


@rule(
    "rnn.output.shape.unbatched",
    "rnn.output.shape.batched",
    "rnn.output.shape.batch-first",
    "rnn.output.packed",
    "rnn.symbols",
    "lstm.symbols",
)
def output(observation: Observation) -> None:
    """`output` has shape `(L, N, D * H)`, with `batch_first` `(N, L, D * H)`, and for a single
    sequence `(L, D * H)`. A packed output has a row for every time step of every sequence.

    The shape of the output is compared with the documented one.

    Catches the width of one direction instead of two, dimensions that are joined or exchanged, and
    dimensions of size 1 that are removed or left over.
    """
    found = tuple(get_data(observation.call.raw_output).shape)
    expected = observation.call.output_shape
    if found != expected:
        name = "the data of output" if observation.case.is_packed else "output"
        raise Violation(
            f"{name} has shape {found}, expected {expected}",
            Snippet(f"assert tuple(data(layer(*given)[0]).shape) == {expected}", (Helper.DATA,)),
        )


@rule(
    "rnn.h_n.shape.batched",
    "rnn.h_n.shape.unbatched",
    "rnn.symbols",
    "lstm.symbols",
    needs=(Feature.FINAL_STATE,),
)
def h_n(observation: Observation) -> None:
    """`h_n` has shape `(D * num_layers, N, H)`, and for a single sequence `(D * num_layers, H)`,
    whatever the value of `batch_first`.

    The shape of `h_n` is compared with the documented one.

    Catches states of only a single direction, layer or sample, states with the batch dimension
    first, and dimensions that are removed or split.
    """
    assert_state_shape(observation, "h_n")


def get_data(result: Tensor | PackedSequence) -> Tensor:
    """Return a result itself, or its `data` if it is packed. Raises Malformed if it is neither."""
    data = result.data if isinstance(result, PackedSequence) else result
    if not isinstance(data, Tensor):
        raise Malformed(
            f"output is a {type(data).__name__}, expected a Tensor or a PackedSequence",
            f"type@output:{type(data).__name__}",
        )
    return data


@rule("rnn.recurrence.dtypes")
def dtype(observation: Observation) -> None:
    """Results have the dtype and the device of the parameters.

    The dtype and the device of all results are compared with the dtype and the device of the case.

    Catches states that are computed and returned in a wider dtype, and results on another device.
    """
    expected, kind = observation.case.dtype.torch_dtype, observation.case.config.kind_data
    found = [
        (name, state, write_state_place(kind, name))
        for name, state in observation.call.raw_states.items()
    ]
    if "output" in kind.results:
        found.insert(0, ("output", get_data(observation.call.raw_output), "[0]"))
    for name, result, place in found:
        if result.dtype != expected:
            raise Violation(
                f"{name} is {result.dtype}, expected {expected}",
                Snippet(f"assert data(layer(*given){place}).dtype == {expected}", (Helper.DATA,)),
            )
        device = observation.call.given.leaf.device
        if result.device != device:
            raise Violation(
                f"{name} is on {result.device}, expected {device}",
                Snippet(f"assert data(layer(*given){place}).device == x.device", (Helper.DATA,)),
            )


EMPTY = Snippet(
    """empty = x.detach().narrow({axis}, 0, 0)
{results} = layer(empty)
results = ({listed},)
assert tuple(tuple(result.shape) for result in results) == {shapes}
if torch.is_grad_enabled():
    sum(result.sum() for result in results).backward()
    for parameter in layer.parameters():
        assert parameter.grad is None or not parameter.grad.any(), parameter.grad""",
    (Helper.BACKWARD,),
)


@rule(
    "rnn.input.empty-batch",
    when=is_batched & one_in(8),
    presupposes=(
        Fact.CALL,
        "layouts.*",
        "shapes.output",
        "shapes.h-n",
        "shapes.returns-pair",
        "states.absent-is-zero",
        "layouts.batch-first",
        "modules.second-call",
        "gradients.input",
    ),
)
def empty_batch(observation: Observation) -> None:
    """The layer accepts a batch of zero sequences: its results have a batch dimension of size 0,
    and the backward pass works.

    The layer of the case is called on zero sequences, with an `h_0` for zero sequences if the case
    passes an `h_0`. The shapes are compared, and the sum of the results is differentiated. All
    gradients of parameters must be 0.

    Catches rejected calls, a state for a single sequence, and backward passes that fail or divide
    by the number of sequences.
    """
    assert_empty_batch_accepted(observation)


def assert_empty_batch_accepted(observation: Observation) -> None:
    """Raise Violation unless a call with an empty batch and its backward pass work."""
    empty = observation.second_call_as(
        observation.case.replace(batch=0, memory_layout=MemoryLayout.CONTIGUOUS)
    )
    case = empty.case
    kind = case.config.kind_data
    states = (state_shape(case.config, case.shape, letter) for letter in kind.states)
    outputs = () if kind.is_cell else (output_shape(case.config, case.shape),)
    expected, parts = (*outputs, *states), "samples" if kind.is_cell else "sequences"
    snippet = EMPTY.format(
        axis=0 if kind.is_cell or case.config.batch_first else 1,
        shapes=expected,
        results=write_results(kind),
        listed=", ".join(kind.results),
    )
    can_differentiate = case.grad_mode is GradMode.GRAD and observation.subject.offers(
        Feature.GRADIENTS
    )
    try:
        found = tuple(tuple(result.shape) for result in _list_results(empty))
        if found == expected and can_differentiate:
            _assert_zero_gradients(empty, parts, snippet)
    except Raised as raised:
        raise Violation(f"with zero {parts}, {raised}", snippet) from raised
    if found != expected:
        raise Violation(
            f"a batch of zero {parts} gives shapes {found}, expected {expected}", snippet
        )


def _assert_zero_gradients(empty: Observation, parts: str, snippet: Snippet) -> None:
    """Raise Violation unless the gradients of all parameters are 0 or missing."""
    weights = {
        name: weight for name, weight in empty.prepared.weights().items() if weight.requires_grad
    }
    leaves = [empty.call.given.leaf, *weights.values()]
    with observe_step("backward"):
        total = torch.stack([result.sum() for result in _list_results(empty)]).sum()
        _, *gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    for name, gradient in zip(weights, gradients, strict=True):
        wrong = [] if gradient is None else gradient[gradient != 0].tolist()
        if wrong:
            raise Violation(
                f"with zero {parts}, the gradient of {name} has an element {wrong[0]:.4g}, "
                "expected 0",
                snippet,
            )


def _list_results(observation: Observation) -> list[Tensor]:
    """Return the results of a call, whatever their shapes."""
    call, is_cell = observation.call, observation.case.config.kind_data.is_cell
    outputs = [] if is_cell else [get_data(call.raw_output)]
    return [*outputs, *call.raw_states.values()]
