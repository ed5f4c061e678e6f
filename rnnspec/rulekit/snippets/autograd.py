"""Last lines of programs about gradients under the tools of autograd, and about hooks."""

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

SCALED = Snippet(
    """gradients = []
for each in (layer, reference):
    total = 65536 * sum(spread(data(result)) for result in each(*given))
    leaves = [x, *list_tensors(given[1:]), *named(each).values()]
    gradients.append(torch.autograd.grad(total, leaves, retain_graph=True))
for own, expected in zip(*gradients):
    close(own / 65536, expected / 65536)""",
    COMPARED,
)

LOSS = """def loss(each, weights, x):
    results = torch.func.functional_call(each, weights, (x, *given[1:]))
    return sum(spread(data(result)) for result in results)

"""

TRANSFORMED = Snippet(
    f"""{LOSS}gradients = []
for each in (layer, reference):
    weights = {{name: value.detach() for name, value in each.named_parameters()}}
    differentiate = torch.func.grad(lambda weights, x: loss(each, weights, x), argnums=(0, 1))
    by_weights, by_input = differentiate(weights, x.detach())
    gradients.append([by_input, *(by_weights[name] for name in weights)])
for own, expected in zip(*gradients):
    close(own, expected)""",
    (Helper.CLOSE, Helper.DATA, Helper.SPREAD),
)


FORWARD_HOOKS = Snippet(
    """tensor = data(given[0])
other = -tensor if tensor is given[0] else given[0]._replace(data=-tensor)
taken, returned = [], []

def replace(module, arguments):
    taken.append(arguments)
    return (other, *given[1:])

layer.register_forward_pre_hook(replace)
layer.register_forward_hook(lambda module, arguments, result: returned.append((arguments, result)))
results = layer(*given)
assert [each[0] is given[0] for each in taken] == [True], taken
assert [each[0] is other for each, _ in returned] == [True], returned
assert returned[0][1] is results
for own, expected in zip(results, reference(other, *given[1:])):
    close(own, expected)""",
    (Helper.CLOSE, Helper.DATA),
)

RESULT_REPLACED = Snippet(
    """layer.register_forward_hook(lambda module, arguments, result: "replaced")
returned = layer(*given)
assert isinstance(returned, str), returned"""
)

BACKWARD_HOOKS = Snippet(
    """seen = []
layer.register_full_backward_hook(lambda module, taken, returned: seen.append(taken[0]))
gradients = []
for each in (layer, reference):
    leaves = [x, *list_tensors(given[1:]), *named(each).values()]
    sum(spread(data(result)) for result in each(*given)).backward(retain_graph=True)
    gradients.append([leaf.grad.clone() for leaf in leaves])
    for leaf in leaves:
        leaf.grad = None
for own, expected in zip(*gradients):
    close(own, expected)
assert len(seen) == 1, len(seen)
assert seen[0] is not None and torch.equal(seen[0], gradients[0][0]), seen""",
    COMPARED,
)
