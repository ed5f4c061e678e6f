"""Last lines of programs about gradients under the tools of autograd."""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper, Snippet

COMPARED = (
    Helper.CLOSE,
    Helper.DATA,
    Helper.NAMED,
    Helper.SPREAD,
    Helper.LIST_TENSORS,
    Helper.INPUT_GRADIENTS,
    Helper.BACKWARD,
)

PRESENT = Snippet(
    """total = sum(spread(data(result)) for result in layer(*given))
leaves = [x, *list_tensors(given[1:]), *named(layer).values()]
gradients = torch.autograd.grad(total, leaves, allow_unused=True)
assert all(gradient is not None for gradient in gradients), gradients""",
    COMPARED[1:],
)

CHANGED_IN_PLACE = Snippet(
    """leaves = [x, *list_tensors(given[1:])]
total = sum(spread(data(result)) for result in reference(*given))
expected = torch.autograd.grad(total, [*leaves, *named(reference).values()])
results = layer(*given)
total = sum(spread(data(result)) for result in results)
tensors = [each for result in results for each in list_tensors(data(result))]
with torch.no_grad():
    for tensor in [{tensors}]:
        tensor.detach().add_(1.0)
try:
    found = torch.autograd.grad(total, [*leaves, *named(layer).values()])
except RuntimeError:
    found = expected
for own, other in zip(found, expected):
    close(own, other)""",
    COMPARED,
)

ANOMALY = Snippet(
    """gradients = []
for each in (layer, reference):
    with torch.autograd.detect_anomaly():
        total = sum(spread(data(result)) for result in each(*given))
        leaves = [x, *list_tensors(given[1:]), *named(each).values()]
        gradients.append(torch.autograd.grad(total, leaves, retain_graph=True))
for own, expected in zip(*gradients):
    close(own, expected)""",
    COMPARED,
)

LOSS = """def loss(each, weights, x):
    results = torch.func.functional_call(each, weights, (x, *given[1:]))
    return sum(spread(data(result)) for result in results)

"""

BY_PARAMETERS = Snippet(
    f"""{LOSS}gradients = []
for each in (layer, reference):
    weights = {{name: value.detach() for name, value in each.named_parameters()}}
    found = torch.func.grad(lambda weights: loss(each, weights, x))(weights)
    gradients.append([found[name] for name in weights])
for own, expected in zip(*gradients):
    close(own, expected)""",
    (Helper.CLOSE, Helper.DATA, Helper.SPREAD),
)

BY_INPUT = Snippet(
    f"""{LOSS}gradients = []
for each in (layer, reference):
    gradients.append(torch.func.grad(lambda x: loss(each, {{}}, x))(x.detach()))
close(*gradients)""",
    (Helper.CLOSE, Helper.DATA, Helper.SPREAD),
)
