"""Last lines of programs about the side effects of a call."""

from __future__ import annotations

from dataclasses import replace

from rnnspec.rulekit.snippet import Helper, Snippet

ARGUMENTS = Snippet(
    """tensors = [data(given[0]), *list_tensors(given[1:])]
kept = [tensor.detach().clone() for tensor in tensors]
layer(*given)
for tensor, before in zip(tensors, kept):
    assert tensor.shape == before.shape, tensor
    assert torch.equal(tensor, before), tensor""",
    (Helper.DATA, Helper.LIST_TENSORS),
)

PARAMETERS = Snippet("""named = layer.named_parameters
kept = {name: parameter.detach().clone() for name, parameter in named()}
layer(*given)
for name, parameter in named():
    assert parameter.grad is None, name
    assert parameter.shape == kept[name].shape and torch.equal(parameter, kept[name]), name""")

RANDOM_GENERATORS = Snippet(
    """def states():
    found = [torch.get_rng_state(){device_state}]
    others = random.getstate(), repr(numpy.random.get_state(legacy=False))
    return [state.tolist() for state in found], others

before = states()
layer(*given)
assert states() == before""",
    imports=("random", "numpy"),
)

OTHER_GENERATORS = Snippet(
    """def states():
    return random.getstate(), repr(numpy.random.get_state(legacy=False))

before = states()
layer(*given)
assert states() == before""",
    imports=("random", "numpy"),
)

REPEATABLE = Snippet(
    """for first, second in zip(layer(*given), layer(*given)):
    close(second, first)""",
    (Helper.CLOSE,),
)

GLOBAL_SETTINGS = Snippet(
    """def settings():
    defaults = torch.get_default_dtype(), torch.empty(0).device, torch.get_num_threads()
    modes = torch.is_grad_enabled(), torch.is_anomaly_enabled()
    algorithms = torch.are_deterministic_algorithms_enabled()
    precision = torch.get_float32_matmul_precision(), sys.float_info.min / 2 > 0
    others = list(warnings.filters), os.getcwd(), torch.equal, torch.allclose
    return *defaults, *modes, algorithms, *precision, *others

before = settings()
{step}
assert settings() == before, settings()""",
    imports=("os", "sys", "warnings"),
)

# The program has built the layer by then, so undo the changes of its constructor first.
GLOBAL_SETTINGS_WHEN_BUILT = replace(
    GLOBAL_SETTINGS,
    code=f"""torch.set_default_dtype(torch.float32)
torch.set_grad_enabled(True)
torch.set_float32_matmul_precision("highest")
torch.set_flush_denormal(False)

{GLOBAL_SETTINGS.code}""",
    uses=(Helper.BUILD,),
)

EARLIER_RESULTS = Snippet(
    """is_packed = data(given[0]) is not given[0]
results, kept = [], []
for number in range(18):
    # Each call has other values: a buffer that is refilled with equal values shows nothing.
    other = (1 - number / 9) * data(given[0])
    output, h_n = layer(given[0]._replace(data=other) if is_packed else other, *given[1:])
    made = [data(output), *list_tensors(h_n)]
    results += made
    kept += [result.clone() for result in made]
assert all(map(torch.equal, results, kept))""",
    (Helper.DATA, Helper.LIST_TENSORS),
)

RESULTS_NOT_ALIASED = Snippet(
    """output, h_n = layer(*given)
others = [*list_tensors(h_n), data(given[0]), *list_tensors(given[1:])]
kept = [tensor.detach().clone() for tensor in others]
data(output).detach().fill_(7.0)
for tensor, before in zip(others, kept):
    assert torch.equal(tensor, before), tensor""",
    (Helper.DATA, Helper.LIST_TENSORS),
)

STATES_CHANGED = Snippet(
    """h_n = layer(*given)[1]
with torch.no_grad():
    for state in list_tensors(h_n):
        state.fill_(5.0)
copies = map_states(torch.clone, h_n)
close(layer(given[0], h_n)[0], reference(given[0], copies)[0])""",
    (Helper.CLOSE, Helper.LIST_TENSORS, Helper.MAP_STATES),
)

BACKWARD = Snippet(
    """for result in layer(*given):
    for tensor in list_tensors(data(result)):
        gradient = torch.ones_like(tensor)
        tensor.backward(gradient, retain_graph=True)
        assert (gradient == 1).all(), gradient""",
    (Helper.DATA, Helper.LIST_TENSORS, Helper.BACKWARD),
)
