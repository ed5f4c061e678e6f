"""Last lines of programs that compare results and gradients with torch.nn.RNN."""

from __future__ import annotations

from rnnspec.contract.kinds import KINDS, UNGATED, Kind
from rnnspec.rulekit.snippet import Helper, Snippet

OUTPUT = Snippet("close(layer(*given)[0], reference(*given)[0])", (Helper.CLOSE,))
STATES = Snippet("close(layer(*given)[1], reference(*given)[1])", (Helper.CLOSE,))
BOTH = OUTPUT + STATES
PICKS = {
    "output": "spread(data(output))",
    "h_n": "spread(h_n)",
    "c_n": "spread(c_n)",
}
"""How a program adds the elements of a result."""


def compare_result(name: str) -> Snippet:
    """Return the line that compares the output, or the final states."""
    return OUTPUT if name == "output" else STATES


def write_results(kind: Kind) -> str:
    """Return the names to which a program assigns what a call returns."""
    states = ", ".join(kind.final)
    return f"output, ({states})" if len(kind.final) > 1 else f"output, {states}"


def compare_gradients(name: str, results: tuple[str, ...] = UNGATED.results) -> Snippet:
    """Return lines that compare the gradients of both layers with respect to one tensor.

    `name` is input, an initial state or the name of a parameter. The gradient is that of a weighted
    sum of the named `results`.
    """
    kind = next(kind for kind in KINDS.values() if set(results) <= set(kind.results))
    leaf = {"input": "x", **{state: state for state in kind.initial}}.get(name)
    total = " + ".join(PICKS[result] for result in results)
    source = f"[{leaf}]" if leaf else f'[dict(each.named_parameters())["{name}"]]'
    return Snippet(
        "def gradient(each):\n"
        f"    {write_results(kind)} = each(*given)\n"
        f"    return torch.autograd.grad({total}, {source}, retain_graph=True)[0]\n"
        "close(gradient(layer), gradient(reference))",
        (Helper.CLOSE, Helper.DATA, Helper.SPREAD, Helper.INPUT_GRADIENTS, Helper.BACKWARD),
    )
