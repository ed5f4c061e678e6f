"""Lines that end a stand-alone program: what they assert holds for torch.nn.RNN and fails for the subject.

Names in scope: `layer` (the subject), `reference` (torch.nn.RNN with the same weights), `given` (the arguments of the call),
`x`, `h_0`, `config`, `torch`, `build` (what the subject is built with), and `close`, which compares two results with a tolerance
for the dtype.
"""

OUTPUT = "close(layer(*given)[0], reference(*given)[0])"
H_N = "close(layer(*given)[1], reference(*given)[1])"
BOTH = f"{OUTPUT}\n{H_N}"


def compare_gradients(name: str, results: tuple[str, ...] = ("output", "h_n")) -> str:
    """The gradient of a weighted sum of the results with respect to input, h_0 or a parameter."""
    leaf = {"input": "x", "h_0": "h_0"}.get(name)
    picks = {"output": "spread(data(output))", "h_n": "spread(h_n)"}
    total = " + ".join(picks[result] for result in results)
    source = f"[{leaf}]" if leaf else f'[dict(each.named_parameters())["{name}"]]'
    return (
        "def gradient(each):\n"
        "    output, h_n = each(*given)\n"
        f"    return torch.autograd.grad({total}, {source}, retain_graph=True)[0]\n"
        "close(gradient(layer), gradient(reference))"
    )
