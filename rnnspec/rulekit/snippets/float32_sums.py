"""Last lines of programs that compare the accuracy of a layer with torch's own layer.

The layer's errors may be twice as large, or 8 roundoffs, which the rules never report: far less
than sums of many terms lose in 16 bits.
"""

from __future__ import annotations

from rnnspec.cases.axes import Layout
from rnnspec.cases.case import Case
from rnnspec.cases.gates import HELD_BIASES
from rnnspec.rulekit.fixtures import swamped_sums as swamped
from rnnspec.rulekit.snippet import Helper, Snippet, write_states
from rnnspec.rulekit.snippets.results import (
    list_helpers_of_leaf,
    take_tensor,
    write_leaf,
    write_results,
    write_total,
)

RESULT = """def result(each, *given):
    {results} = each(*given)
    return {result}.double()"""
GRADIENT = """def result(each, *given):
    {results} = each(*given)
    total = {total}
    return torch.autograd.grad(total, [{leaf}], retain_graph=True)[0].double()"""
SWAMPED_GRADIENT = """def result(each, *given):
    {results} = each(*given)
    {result} = {tensor}
    scale = list_terms({samples}).to({result}).reshape(-1, 1).expand_as({result}).contiguous()
    return torch.autograd.grad({result}, [{leaf}], scale, retain_graph=True)[0].double()"""
LIST_TERMS = """dtype = next(reference.parameters()).dtype
def list_terms(size):
    terms = torch.full((size,), {small} * torch.finfo(dtype).eps)
    terms[[0, -1]] = 1.0
    return terms"""
BUILD = """config = {{**config, {sizes}}}
layer, reference = build(**config).to(dtype), type(reference)(**config).to(dtype)"""
FILL = """for each in (layer, reference):
    for parameter in each.parameters():
        terms = [list_terms(size) for size in parameter.shape]
        matrix = torch.outer(*terms) if len(terms) == 2 else 0 * terms[0]
        parameter.data = matrix.to(dtype)"""
FILL_GATES = """gates = {gates}  # the signs at which they are held, or None
for each in (layer, reference):
    for name, parameter in named(each).items():
        terms = [list_terms(size) for size in ({units}, *parameter.shape[1:])]
        matrix = torch.outer(*terms) if len(terms) == 2 else 0 * terms[0]
        bias = {biases}.get(name[:7], 0.0)
        rows = [matrix if sign is None else 0 * matrix + sign * bias for sign in gates]
        parameter.data = torch.cat(rows).to(dtype)"""
FULL = "{name} = torch.full({shape}, {value}, dtype=dtype, requires_grad=True)"
COMPARISON = """def widen(given):
    return tuple(map(widen, given)) if type(given) is tuple else given.double()

exact = result(copy.deepcopy(reference).double(), *widen(given))
differences = [(result(each, *given) - exact).abs() for each in (layer, reference)]
errors = [(each / exact.abs().clamp(min=1)).max() for each in differences]
assert errors[0] <= max(2 * errors[1], 4 * torch.finfo(x.dtype).eps), errors"""


def compare_results_alone(snippet: Snippet) -> Snippet | None:
    """Return such lines with a comparison of the results themselves, or None for other lines.

    Use it if you have a tolerance that sums in float32 keep.
    """
    if not snippet.code.endswith(COMPARISON):
        return None
    lines = "close(result(layer, *given), result(reference, *given))"
    code = f"{snippet.code.removesuffix(COMPARISON)}{lines}"
    return Snippet(code, (Helper.CLOSE, *snippet.uses), snippet.imports)


def compare_errors(name: str, case: Case) -> Snippet:
    """Return lines that fail if a result or gradient is less accurate than with torch's layer.

    `name` is the name of a result, of an initial state or of a parameter, or "input". The lines use
    the numbers of the program.
    """
    kind = case.config.kind_data
    if name in kind.results:
        lines = RESULT.format(results=write_results(kind), result=take_tensor(name))
        return _join([lines], (Helper.DATA,))
    uses = (Helper.DATA, Helper.SPREAD, Helper.INPUT_GRADIENTS, Helper.BACKWARD)
    lines = GRADIENT.format(
        results=write_results(kind), total=write_total(kind.results), leaf=write_leaf(name, kind)
    )
    return _join([lines], (*uses, *list_helpers_of_leaf(name, kind)))


def compare_swamped_errors(name: str, case: Case) -> Snippet:
    """Return the same lines for the layer and the numbers of `fixtures/swamped_sums`.

    `case` is the case of that layer.
    """
    kind = case.config.kind_data
    results = write_results(kind)
    uses = (Helper.BUILD, Helper.DATA, *([Helper.NAMED] if kind.is_gated else []))
    if name in kind.results:
        lines = RESULT.format(results=results, result=take_tensor(name))
        return _join([*_list_swamped(case), lines], uses)
    lines = SWAMPED_GRADIENT.format(
        results=results,
        result=kind.leading,
        tensor=take_tensor(kind.leading),
        samples=case.batch,
        leaf=write_leaf(name, kind),
    )
    uses = (*uses, Helper.BACKWARD, *list_helpers_of_leaf(name, kind))
    return _join([*_list_swamped(case), lines], uses)


def _list_swamped(case: Case) -> list[str]:
    """Return blocks of lines that build both layers with swamped sums, and their arguments."""
    config, kind = case.config, case.config.kind_data
    sizes = {"input_size": config.input_size, "hidden_size": config.hidden_size}
    given = sizes if kind.is_cell else {**sizes, "batch_first": False}
    fill = FILL_GATES.format(gates=kind.held, units=config.hidden_size, biases=HELD_BIASES)
    leading = () if kind.is_cell else (1,)
    rows = () if kind.is_cell else (config.num_directions,)
    shapes = {
        "x": (*leading, case.batch, config.input_size),
        **dict.fromkeys(kind.initial, (*rows, case.batch, config.hidden_size)),
    }
    value = swamped.get_value(config)
    arguments = [
        *(FULL.format(name=name, shape=shape, value=value) for name, shape in shapes.items()),
        f"given = ({_write_argument(case)}, {write_states(kind.initial)})",
    ]
    return [
        LIST_TERMS.format(small=swamped.SMALL / 2),
        BUILD.format(sizes=", ".join(f'"{key}": {value}' for key, value in given.items())),
        fill if kind.is_gated else FILL,
        "\n".join(arguments),
    ]


def _write_argument(case: Case) -> str:
    if case.layout is not Layout.PACKED:
        return "x"
    return f"torch.nn.utils.rnn.pack_padded_sequence(x, [1] * {case.batch})"


def _join(blocks: list[str], uses: tuple[Helper, ...]) -> Snippet:
    return Snippet("\n\n".join([*blocks, COMPARISON]), uses, ("copy",))
