"""Last lines of programs that compare the accuracy of a layer with that of torch.nn.RNN.

Its errors may be twice as large: far less than what sums in 16 bits lose if they have many terms.
"""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper, Snippet

RESULTS = ("output", "h_n")
RESULT = """def result(each, *given):
    return data(each(*given)[{index}]).double()"""
GRADIENT = """def result(each, *given):
    output, h_n = each(*given)
    total = spread(data(output)) + spread(h_n)
    return torch.autograd.grad(total, [{leaf}])[0].double()"""
SWAMPED_GRADIENT = """def result(each, *given):
    output = each(*given)[0]
    scale = terms.to(output).reshape(1, -1, 1).expand_as(output)
    return torch.autograd.grad(output, [{leaf}], scale)[0].double()"""
SWAMPED = """dtype = next(reference.parameters()).dtype
terms = torch.full((96,), 0.375 * torch.finfo(dtype).eps)
terms[[0, -1]] = 1.0
config = {**config, "input_size": 96, "hidden_size": 96, "batch_first": False}
layer, reference = build(**config).to(dtype), type(reference)(**config).to(dtype)
for each in (layer, reference):
    for parameter in each.parameters():
        matrix = torch.outer(terms, terms) if parameter.dim() == 2 else torch.zeros(96)
        parameter.data = matrix.to(dtype)
x = torch.ones(1, 96, 96, dtype=dtype, requires_grad=True)
h_0 = torch.ones(1 + config.get("bidirectional", False), 96, 96, dtype=dtype, requires_grad=True)
given = (x, h_0)"""
COMPARISON = """wide = [each.double() for each in given]
exact = result(copy.deepcopy(reference).double(), *wide)
errors = [(result(each, *given) - exact).abs().max() for each in (layer, reference)]
assert errors[0] <= 2 * errors[1], errors"""


def compare_errors(name: str) -> Snippet:
    """Return lines that fail if a result or gradient is less accurate than that of torch.nn.RNN.

    `name` is output, h_n, input, h_0 or the name of a parameter. The numbers are those of the
    program.
    """
    if name in RESULTS:
        return _join([RESULT.format(index=RESULTS.index(name))], (Helper.DATA,))
    uses = (Helper.DATA, Helper.SPREAD, Helper.INPUT_GRADIENTS, Helper.BACKWARD)
    return _join([GRADIENT.format(leaf=_write_leaf(name))], uses)


def compare_swamped_errors(name: str) -> Snippet:
    """Return the same lines for the layer and the numbers of `fixtures/swamped_sums`."""
    if name in RESULTS:
        lines = RESULT.format(index=RESULTS.index(name))
        return _join([SWAMPED, lines], (Helper.BUILD, Helper.DATA))
    lines = SWAMPED_GRADIENT.format(leaf=_write_leaf(name))
    return _join([SWAMPED, lines], (Helper.BUILD, Helper.BACKWARD))


def _write_leaf(name: str) -> str:
    leaves = {"input": "x", "h_0": "h_0"}
    return leaves.get(name, f'dict(each.named_parameters())["{name}"]')


def _join(blocks: list[str], uses: tuple[Helper, ...]) -> Snippet:
    return Snippet("\n\n".join([*blocks, COMPARISON]), uses, ("copy",))
