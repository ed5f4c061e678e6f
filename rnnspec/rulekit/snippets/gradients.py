"""Last lines of programs about gradients."""

from __future__ import annotations

from dataclasses import replace

from rnnspec.cases.case import Case
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import name_sample_axes

OTHER_SAMPLES = Snippet(
    """own, final = layer(*given)
rows = [{output}.select({axis}, {sample})]
{add_states}leaves = [x, *list_tensors(given[1:])]
gradients = torch.autograd.grad(sum(spread(each) for each in rows), leaves, allow_unused=True)
for leaf, found in zip(leaves, gradients):
    axis = {axis_of_leaf}
    others = [row for row in range(leaf.shape[axis]) if row != {sample}]
    assert found is None or not found.index_select(axis, torch.tensor(others)).any(), found""",
    (Helper.SPREAD, Helper.LIST_TENSORS, Helper.INPUT_GRADIENTS, Helper.BACKWARD),
)
ADD_STATES = "rows += [each.select({states}, {sample}) for each in list_tensors(final)]\n"

LATER_STEPS = Snippet(
    """cut = (x.shape[time] + 1) // 2
own, final = layer(*given)
earlier = {output}.narrow(time, 0, cut)
found = torch.autograd.grad(spread(earlier), x)[0]
assert not found.narrow(time, cut, x.shape[time] - cut).any(), found""",
    (Helper.SPREAD, Helper.TIME, Helper.INPUT_GRADIENTS, Helper.BACKWARD),
)


def show_leak_to_samples(case: Case, sample: int, *, from_states: bool) -> Snippet:
    """Return lines that differentiate the results of a sample with respect to the others.

    If you set `from_states`, its final states are differentiated as well as its output.
    """
    axes = name_sample_axes(case)
    axis, states = axes["axis"], axes["states"]
    return OTHER_SAMPLES.format(
        output=_write_padded(case),
        axis=axis,
        sample=sample,
        add_states=ADD_STATES.format(states=states, sample=sample) if from_states else "",
        axis_of_leaf=axis if axis == states else f"{axis} if leaf is x else {states}",
    )


def show_leak_to_steps(case: Case) -> Snippet:
    """Return lines that differentiate the earlier half of an output with respect to later input."""
    return LATER_STEPS.format(output=_write_padded(case))


def _write_padded(case: Case) -> str:
    """Return the code of the output `own`, padded, with the axes of the input."""
    if not case.is_packed:
        return "own"
    options = ", batch_first=True" * case.config.batch_first
    return f"torch.nn.utils.rnn.pad_packed_sequence(own{options})[0]"


_LATER_CALL = Snippet(
    """tensor = data(given[0])
other = -tensor if tensor is given[0] else given[0]._replace(data=-tensor)
gradients = []
for each in (layer, reference):
    later = {later}
    results = each(*given)
    later(other, *given[1:])
    total = sum(spread(data(result)) for result in results)
    leaves = [x, *named(each).values()]
    gradients.append(torch.autograd.grad(total, leaves, retain_graph=True))
for one, other in zip(*gradients):
    close(one, other)""",
    (
        Helper.CLOSE,
        Helper.DATA,
        Helper.NAMED,
        Helper.SPREAD,
        Helper.INPUT_GRADIENTS,
        Helper.BACKWARD,
    ),
)
LATER_CALL = _LATER_CALL.format(later="each")
LATER_CALL_OF_COPY = replace(_LATER_CALL.format(later="copy.deepcopy(each)"), imports=("copy",))

SECOND_BACKWARD = Snippet(
    """def total():
    return sum(spread(data(result)) for result in layer(*given))

result = total()
leaves = list(layer.parameters())
first = torch.autograd.grad(result, leaves, retain_graph=True)
for one, other in zip(first, torch.autograd.grad(result, leaves, retain_graph=True)):
    close(other, one)
result = total()
result.backward(retain_graph=True)
result.backward()
for one, leaf in zip(first, leaves):
    close(leaf.grad, 2 * one)""",
    (Helper.CLOSE, Helper.DATA, Helper.SPREAD, Helper.BACKWARD),
)

SECOND_BACKWARD_OF_ONE_STEP = Snippet(
    """single = x.detach().reshape(-1, x.shape[-1])[:1].reshape([1] * (x.dim() - 1) + [-1])
result = sum(spread(each) for each in layer(single))
result.backward(retain_graph=True)
once = [leaf.grad.clone() for leaf in layer.parameters()]
result.backward()
for one, leaf in zip(once, layer.parameters()):
    close(leaf.grad, 2 * one)""",
    (Helper.CLOSE, Helper.SPREAD, Helper.BACKWARD),
)

DIFFERENTIATE_TWICE = Snippet(
    """def second(each):
    total = sum(spread(data(result)) for result in each(*given))
    leaves = [x, {states}*named(each).values()]
    first = torch.autograd.grad(total, leaves, create_graph=True)
    total = sum(spread(gradient) for gradient in first)
    options = dict(retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.autograd.grad(total, leaves, **options)

for one, other in zip(second(layer), second(reference)):
    close(one, other)""",
    (
        Helper.CLOSE,
        Helper.DATA,
        Helper.NAMED,
        Helper.SPREAD,
        Helper.INPUT_GRADIENTS,
        Helper.FLOAT64,
        Helper.BACKWARD,
    ),
)
SECOND_ORDER = DIFFERENTIATE_TWICE.format(states="")
SECOND_ORDER_OF_STATES = replace(
    DIFFERENTIATE_TWICE.format(states="*list_tensors(given[1:]), "),
    uses=(*DIFFERENTIATE_TWICE.uses, Helper.LIST_TENSORS),
)

EVERYTHING_FROZEN = Snippet(
    """layer.requires_grad_(False)
for result in layer(*given):
    assert not any(each.requires_grad for each in list_tensors(data(result)))""",
    (Helper.DATA, Helper.LIST_TENSORS),
)

SOME_FROZEN = Snippet(
    """frozen, gradients = {names!r}, []
{states}for each in (layer, reference):
    for name, parameter in named(each).items():
        parameter.requires_grad_(name not in frozen)
    total = sum(spread(data(result)) for result in each(*given))
    assert total.requires_grad
    others = [own for own in named(each).values() if own.requires_grad]
    leaves = [{leaves}*others]
    gradients.append(torch.autograd.grad(total, leaves, retain_graph=True))
for own, other in zip(*gradients, strict=True):
    close(own, other)""",
    (Helper.CLOSE, Helper.DATA, Helper.NAMED, Helper.SPREAD, Helper.BACKWARD),
)

SUMMED_LOSS = Snippet(
    """gradients = []
for each in (layer, reference):
    {results} = each(*given)
    ({loss}).backward(retain_graph=True)
    leaves = [x, *list_tensors(given[1:]), *named(each).values()]
    gradients.append([leaf.grad for leaf in leaves])
    for leaf in leaves:
        leaf.grad = None
for own, expected in zip(*gradients):
    close(own, expected)""",
    (
        Helper.CLOSE,
        Helper.DATA,
        Helper.NAMED,
        Helper.LIST_TENSORS,
        Helper.INPUT_GRADIENTS,
        Helper.BACKWARD,
    ),
)

LEARNED_STATE = Snippet(
    """sources = [torch.nn.Parameter(each.detach(){first}) for each in list_tensors(given[1:])]
gradients = []
for each in (layer, reference):
    states = tuple(source{expand} for source in sources)
    results = each(given[0], states if len(states) > 1 else states[0])
    total = sum(spread(data(result)) for result in results)
    gradients.append(torch.autograd.grad(total, sources, allow_unused=True))
for own, expected in zip(*gradients):
    assert own is not None, "the gradient does not reach the parameter"
    close(own, expected)""",
    (Helper.CLOSE, Helper.DATA, Helper.LIST_TENSORS, Helper.SPREAD, Helper.BACKWARD),
)

ZERO_STATE = Snippet(
    """states = map_states(torch.nn.Parameter, map_states(torch.zeros_like, {final}))
gradients = []
for each in (layer, reference):
    total = sum(spread(data(result)) for result in each(given[0], states))
    leaves = [*list_tensors(states), *named(each).values()]
    gradients.append(torch.autograd.grad(total, leaves, allow_unused=True))
for own, expected in zip(*gradients):
    assert own is not None, "the gradient does not reach the parameter"
    close(own, expected)""",
    (
        Helper.CLOSE,
        Helper.DATA,
        Helper.LIST_TENSORS,
        Helper.MAP_STATES,
        Helper.NAMED,
        Helper.SPREAD,
        Helper.BACKWARD,
    ),
)

ACROSS_CALLS = Snippet(
    """first, state = layer(x.narrow(time, 0, {cut}), *given[1:])
rest, state = layer(x.narrow(time, {cut}, x.shape[time] - {cut}), state)
leaves = [x, *list_tensors(given[1:]), *named(layer).values()]
total = spread(torch.cat([first, rest], time)) + spread(state)
found = torch.autograd.grad(total, leaves, allow_unused=True)
leaves = [x, *list_tensors(given[1:]), *named(reference).values()]
expected = torch.autograd.grad(sum(spread(each) for each in reference(*given)), leaves)
for own, other in zip(found, expected):
    assert own is not None, "the gradient does not reach a tensor"
    close(own, other)""",
    (
        Helper.CLOSE,
        Helper.NAMED,
        Helper.SPREAD,
        Helper.LIST_TENSORS,
        Helper.TIME,
        Helper.INPUT_GRADIENTS,
        Helper.BACKWARD,
    ),
)

LOOP_GRADIENT = Snippet(
    """def differentiate(cell):
    states, total = given[1:], 0.0
    for _ in range({steps}):
        states = (cell(x, *states),)
        total = total + spread(states[0])
    leaves = [x, *list_tensors(given[1:]), *named(cell).values()]
    return torch.autograd.grad(total, leaves, allow_unused=True)

for own, expected in zip(differentiate(layer), differentiate(reference)):
    assert own is not None, "the gradient does not reach a tensor"
    close(own, expected)""",
    (
        Helper.CLOSE,
        Helper.NAMED,
        Helper.SPREAD,
        Helper.LIST_TENSORS,
        Helper.INPUT_GRADIENTS,
        Helper.BACKWARD,
    ),
)

DETACHED_STATE = Snippet(
    """states = list_tensors(layer(*given)[1:])
detached = [state.detach() for state in states]
copies = [state.detach().clone() for state in states]
detached, copies = (tuple(each) if len(each) > 1 else each[0] for each in (detached, copies))
tensor = data(given[0]).detach().clone().requires_grad_()
again = tensor if given[0] is x else given[0]._replace(data=tensor)
found = layer(again, detached)
total = sum(spread(data(result)) for result in found)
leaves = [tensor, *named(layer).values()]
gradients = torch.autograd.grad(total, [*leaves, x], retain_graph=True, allow_unused=True)
assert gradients[-1] is None or not gradients[-1].any(), "the gradient passes a detached state"
total = sum(spread(data(result)) for result in reference(again, copies))
expected = torch.autograd.grad(total, [tensor, *named(reference).values()])
for own, other in zip(gradients, expected):
    close(own, other)""",
    (
        Helper.CLOSE,
        Helper.DATA,
        Helper.NAMED,
        Helper.SPREAD,
        Helper.LIST_TENSORS,
        Helper.INPUT_GRADIENTS,
        Helper.BACKWARD,
    ),
)

SATURATE = Snippet(
    "x = ({factor} * x).detach().requires_grad_()\ngiven = (x, *given[1:])",
)
"""Multiplies padded input by a factor."""
LENGTHEN = Snippet(
    "x = torch.cat([x] * {steps}, dim=time).narrow(time, 0, {steps}).detach().requires_grad_()\n"
    "given = (x, *given[1:])",
    (Helper.TIME,),
)
"""Repeats padded input until it has `steps` time steps."""
