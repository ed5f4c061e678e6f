"""Last lines of programs that compare results and gradients with the layer of torch."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from rnnspec.cases.case import Case
from rnnspec.contract.kinds import UNGATED, Kind
from rnnspec.rulekit.snippet import Helper, Snippet, leave_out_statements, write_states


def name_sample_axes(case: Case) -> dict[str, int]:
    """Return the axis of the samples in the input, as `axis`, and in the states, as `states`."""
    is_cell = case.config.kind_data.is_cell
    return {
        "axis": 0 if case.config.batch_first or is_cell else 1,
        "states": 0 if is_cell else 1,
    }


OUTPUT = Snippet("close(layer(*given)[0], reference(*given)[0])", (Helper.CLOSE,))
STATES = Snippet("close(layer(*given)[1], reference(*given)[1])", (Helper.CLOSE,))
BOTH = OUTPUT + STATES
CALL_LAYER = Snippet("layer(*given)")
COPY_WEIGHTS = Snippet(
    """with torch.no_grad():
    for own, right in zip(named(layer).values(), named(reference).values()):
        own.copy_(right)""",
    (Helper.NAMED,),
)
ON_COPIES = (
    Snippet(
        """def copy(given):
    if type(given) is tuple:
        return tuple(map(copy, given))
    is_packed = isinstance(given, torch.nn.utils.rnn.PackedSequence)
    return given._replace(data=given.data.clone()) if is_packed else given.clone()

given = copy(given)"""
    )
    + BOTH
)
"""Compare results on copies of the arguments, which are made in the gradient mode of the case."""


def leave_out_states(snippet: Snippet) -> Snippet:
    """Return lines without the comparisons of final states, if any lines are left."""
    (compared,) = ast.parse(STATES.code).body
    statements = (node for node in ast.walk(ast.parse(snippet.code)) if isinstance(node, ast.stmt))
    left_out = [each for each in statements if ast.dump(each) == ast.dump(compared)]
    code = leave_out_statements(snippet.code, left_out)
    return replace(snippet, code=code) if code.strip() else snippet


def compare_result(name: str) -> Snippet:
    """Return the line that compares the output, or the final states."""
    return OUTPUT if name == "output" else STATES


def write_results(kind: Kind) -> str:
    """Return the names to which a program assigns the results of a call."""
    if kind.is_cell:
        return ", ".join(kind.final)
    return f"output, {write_states(kind.final)}"


def take_tensor(result: str) -> str:
    """Return the code for the tensor of a result: an output may be packed."""
    return "data(output)" if result == "output" else result


def write_total(results: Iterable[str]) -> str:
    """Return the code for the weighted sum of all elements of the named results."""
    return " + ".join(f"spread({take_tensor(result)})" for result in results)


def list_helpers_of_leaf(name: str, kind: Kind) -> tuple[Helper, ...]:
    """Return the helpers that `write_leaf` needs for a tensor."""
    return () if name in ("input", *kind.initial) else (Helper.NAMED,)


def write_leaf(name: str, kind: Kind) -> str:
    """Return the code for the input, an initial state, or a parameter of `each`, by its name."""
    if name == "input":
        return "x"
    return name if name in kind.initial else f'named(each)["{name}"]'


def compare_gradients(name: str, kind: Kind = UNGATED, results: tuple[str, ...] = ()) -> Snippet:
    """Return lines that compare the gradients of both layers with respect to a tensor.

    `name` is "input" or the name of an initial state or a parameter. The lines differentiate a
    weighted sum of the named `results` of a layer of this kind, by default of all results.
    """
    total, source = write_total(results or kind.results), f"[{write_leaf(name, kind)}]"
    return Snippet(
        "def gradient(each):\n"
        f"    {write_results(kind)} = each(*given)\n"
        f"    return torch.autograd.grad({total}, {source}, retain_graph=True)[0]\n"
        "close(gradient(layer), gradient(reference))",
        (
            Helper.CLOSE,
            Helper.DATA,
            Helper.SPREAD,
            Helper.INPUT_GRADIENTS,
            Helper.BACKWARD,
            *list_helpers_of_leaf(name, kind),
        ),
    )


IS_PACKED = Snippet("assert type(layer(*given)[0]) is torch.nn.utils.rnn.PackedSequence")
SAME_INDICES = Snippet("""got, expected = layer(*given)[0], packed
assert got.batch_sizes.dtype == torch.int64 and not got.batch_sizes.is_cuda
assert got.batch_sizes.tolist() == expected.batch_sizes.tolist()
for name in ("sorted_indices", "unsorted_indices"):
    own, other = getattr(got, name), getattr(expected, name)
    assert (own is None) == (other is None)
    assert own is None or own.tolist() == other.tolist()
    assert own is None or (own.dtype, own.device) == (other.dtype, other.device)""")
PAD_BACK = Snippet(
    """padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(layer(*given)[0])
expected, expected_lengths = torch.nn.utils.rnn.pad_packed_sequence(reference(*given)[0])
assert lengths.tolist() == expected_lengths.tolist()
close(padded, expected)""",
    (Helper.CLOSE,),
)
