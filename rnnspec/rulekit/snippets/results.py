"""Last lines of programs that compare results and gradients with torch.nn.RNN."""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper, Snippet

OUTPUT = Snippet("close(layer(*given)[0], reference(*given)[0])", (Helper.CLOSE,))
H_N = Snippet("close(layer(*given)[1], reference(*given)[1])", (Helper.CLOSE,))
BOTH = OUTPUT + H_N


def compare_gradients(name: str, results: tuple[str, ...] = ("output", "h_n")) -> Snippet:
    """Return lines that compare the gradients of both layers with respect to one tensor.

    `name` is input, h_0 or the name of a parameter. The gradient is that of a weighted sum of the
    named `results`.
    """
    leaf = {"input": "x", "h_0": "h_0"}.get(name)
    picks = {"output": "spread(data(output))", "h_n": "spread(h_n)"}
    total = " + ".join(picks[result] for result in results)
    source = f"[{leaf}]" if leaf else f'[dict(each.named_parameters())["{name}"]]'
    return Snippet(
        "def gradient(each):\n"
        "    output, h_n = each(*given)\n"
        f"    return torch.autograd.grad({total}, {source}, retain_graph=True)[0]\n"
        "close(gradient(layer), gradient(reference))",
        (Helper.CLOSE, Helper.DATA, Helper.SPREAD, Helper.INPUT_GRADIENTS, Helper.BACKWARD),
    )
