"""Last lines of programs about hooks."""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.autograd import COMPARED

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
