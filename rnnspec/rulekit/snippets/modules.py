"""Last lines of programs about modules and their parameters."""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets import results as snippets

STATE_DICT = Snippet("""names = sorted(layer.state_dict())
assert names == sorted(reference.state_dict()), names
with torch.no_grad():
    for name, value in layer.state_dict().items():
        value.zero_()
assert not any(parameter.any() for parameter in layer.parameters())""")

SAVED_STATE_DICT = Snippet(
    """saved = io.BytesIO()
torch.save(layer.state_dict(), saved)
saved.seek(0)
layer.load_state_dict(torch.load(saved, weights_only=True))""",
    imports=("io",),
)

DEEPCOPY = Snippet(
    """other = copy.deepcopy(layer)
with torch.no_grad():
    for parameter in other.parameters():
        parameter.add_(1.0)
close(layer(*given)[1], reference(*given)[1])""",
    (Helper.CLOSE,),
    ("copy",),
)

TIES_OF_COPY = Snippet(
    """parent, name = torch.nn.ModuleDict(dict(layer=layer, other=torch.nn.Module())), {name!r}
parent["other"].shared = dict(layer.named_parameters())[name]
copied = copy.deepcopy(parent)
assert dict(copied["layer"].named_parameters())[name] is copied["other"].shared""",
    imports=("copy",),
)

ROUND_TRIP = Snippet(
    """layer.train({train})
layer.requires_grad_(False)
layer.noted_by_user = ["note"]
other = {remade}
assert other.training == {train}, other.training
assert other.noted_by_user == ["note"]
assert not any(parameter.requires_grad for parameter in other.parameters())""",
    imports=("copy", "pickle"),
)

NESTED = Snippet(
    f"""parent = torch.nn.ModuleDict({{"part": layer}})
assert not parent.eval()["part"].training and parent.train()["part"].training
{snippets.BOTH.code}""",
    (Helper.CLOSE,),
)

CONVERSION = Snippet("""layer.to(torch.float64)
assert all(parameter.dtype == torch.float64 for parameter in layer.parameters())""")

SAME_PARAMETERS = Snippet(
    """for own, expected in zip(named(layer).values(), named(reference).values()):
    assert torch.equal(own, expected), own""",
    (Helper.NAMED,),
)

LOADED_FROM_OTHERS = Snippet(
    """wanted = [parameter.detach().clone() for parameter in layer.parameters()]
entries = {name: value.double().clone() for name, value in layer.state_dict().items()}
entries = collections.OrderedDict(reversed(entries.items()))
entries._metadata = {"": {"version": 99}}
names, objects = list(entries), list(layer.requires_grad_(False).parameters())
layer.load_state_dict({name: torch.zeros_like(value) for name, value in entries.items()})
layer.load_state_dict(entries)
assert list(entries) == names
for value in entries.values():
    assert value.dtype == torch.float64
    value.zero_()
for own, before, expected in zip(layer.parameters(), objects, wanted):
    assert own is before and not own.requires_grad
    assert own.dtype == expected.dtype and torch.equal(own, expected), own""",
    imports=("collections",),
)

LOADED_IN_HALF = Snippet(
    """entries = {{name: value.to({dtype}) for name, value in layer.state_dict().items()}}
dtypes = {{name: parameter.dtype for name, parameter in layer.named_parameters()}}
layer.load_state_dict(entries)
for name, own in layer.named_parameters():
    assert own.dtype == dtypes[name] and torch.equal(own, entries[name].to(own.dtype)), own"""
)

ASSIGNED = Snippet(
    """entries = {name: value.double().clone() for name, value in layer.state_dict().items()}
layer.requires_grad_(False).load_state_dict(entries, assign=True)
for name, parameter in layer.named_parameters():
    assert parameter.data_ptr() == entries[name].data_ptr(), name
    assert parameter.dtype == torch.float64 and not parameter.requires_grad, parameter"""
)

STATE_DICT_OPTIONS = Snippet(
    """names = list(layer.state_dict())
assert list(layer.state_dict(prefix="part.")) == ["part." + name for name in names]
entries = dict()
assert layer.state_dict(destination=entries) is entries and list(entries) == names
assert not any(entry.requires_grad for entry in entries.values())
kept, own = layer.state_dict(keep_vars=True), dict(layer.named_parameters())
assert all(kept[name] is own[name] for name in own)
calls = []
layer.register_state_dict_pre_hook(lambda *arguments: calls.append("before saving"))
layer.register_load_state_dict_post_hook(lambda *arguments: calls.append("after loading"))
layer.load_state_dict(layer.state_dict())
assert calls == ["before saving", "after loading"], calls"""
)

SHARED_PARAMETERS = Snippet(
    """other = copy.deepcopy(layer)
for name, parameter in list(layer.named_parameters()):
    holder, _, leaf = name.rpartition(".")
    setattr(other.get_submodule(holder), leaf, parameter)
torch.nn.ModuleList([layer, other]).to(torch.float64)
assert all(own is shared for own, shared in zip(layer.parameters(), other.parameters()))""",
    imports=("copy",),
)

TIE_PARAMETERS = Snippet(
    """def read(each, name):
    return getattr(*place(each, name))

for each in (layer, reference):
    each.to(torch.{other})
    setattr(*place(each, {second!r}), read(each, {first!r}))
    each.to(x.dtype)
assert read(layer, {first!r}) is read(layer, {second!r})
""",
    (Helper.PLACE,),
)

TIED_PARAMETERS = Snippet(
    f"""{TIE_PARAMETERS.code}
close(layer(*given)[1], reference(*given)[1])
for each in (layer, reference):
    with torch.no_grad():
        read(each, {{first!r}}).mul_(0.5)
close(layer(*given)[1], reference(*given)[1])""",
    (Helper.CLOSE, Helper.PLACE),
)

TIED_GRADIENT = Snippet(
    f"""{TIE_PARAMETERS.code}
for each in (layer, reference):
    sum(spread(data(result)) for result in each(*given)).backward()
for own, expected in zip(named(layer).values(), named(reference).values()):
    close(own.grad, expected.grad)""",
    (Helper.CLOSE, Helper.DATA, Helper.NAMED, Helper.PLACE, Helper.SPREAD, Helper.BACKWARD),
)

REGISTER_DOUBLING = Snippet("""class Twice(torch.nn.Module):
    def forward(self, source):
        return 2 * source

    def right_inverse(self, weight):
        return weight / 2

for each in (layer, reference):
    for name, _ in list(each.named_parameters()):
        holder, _, leaf = name.rpartition(".")
        holder = each.get_submodule(holder)
        torch.nn.utils.parametrize.register_parametrization(holder, leaf, Twice())
""")

PARAMETRIZED = Snippet(
    f"""{REGISTER_DOUBLING.code}
close(layer(*given)[0], reference(*given)[0])
for each in (layer, reference):
    with torch.no_grad():
        for parameter in each.parameters():
            parameter.mul_(0.5)
close(layer(*given)[0], reference(*given)[0])""",
    (Helper.CLOSE,),
)

UNPARAMETRIZED = Snippet(
    f"""weights, expected = copy.deepcopy(layer.state_dict()), reference(*given)[0]
parts = [(layer.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
         for name, _ in layer.named_parameters()]
{REGISTER_DOUBLING.code}
layer(*given)
for parameter in layer.parameters():
    parameter.data.mul_(0.5)
layer(*given)
for holder, leaf in parts:
    torch.nn.utils.parametrize.remove_parametrizations(holder, leaf)
layer.load_state_dict(weights)
close(layer(*given)[0], expected)""",
    (Helper.CLOSE,),
    ("copy",),
)

PARAMETRIZED_GRADIENT = Snippet(
    f"""{REGISTER_DOUBLING.code}
for each in (layer, reference):
    sum(spread(data(result)) for result in each(*given)).backward()
for own, expected in zip(named(layer).values(), named(reference).values()):
    close(own.grad, expected.grad)""",
    (Helper.CLOSE, Helper.DATA, Helper.NAMED, Helper.SPREAD, Helper.BACKWARD),
)

NORMALISED = Snippet(
    f"""for each in (layer, reference):
    holder, leaf = place(each, {{name!r}})
    {{function}}(holder, leaf)
    each(*given)
    with torch.no_grad():
        {{source}}.mul_(0.5)
    each(*given)
{snippets.BOTH.code}""",
    (Helper.CLOSE, Helper.PLACE),
)

PRUNED = Snippet(
    f"""for each in (layer, reference):
    holder, leaf = place(each, {{name!r}})
    weight = getattr(holder, leaf).detach()
    mask = (torch.arange(weight.numel()) % 2).view_as(weight).to(weight)
    torch.nn.utils.prune.custom_from_mask(holder, leaf, mask)
    each(*given)
    with torch.no_grad():
        getattr(holder, f"{{{{leaf}}}}_orig").mul_(0.5)
{snippets.BOTH.code}""",
    (Helper.CLOSE, Helper.PLACE),
    ("torch.nn.utils.prune",),
)

PRUNED_GRADIENT = Snippet(
    """gradients = []
for each in (layer, reference):
    holder, leaf = place(each, {name!r})
    weight = getattr(holder, leaf).detach()
    mask = (torch.arange(weight.numel()) % 2).view_as(weight).to(weight)
    torch.nn.utils.prune.custom_from_mask(holder, leaf, mask)
    total = sum(spread(data(result)) for result in each(*given))
    source = getattr(holder, f"{{leaf}}_orig")
    gradients += torch.autograd.grad(total, [source], allow_unused=True)
assert gradients[0] is not None, "the gradient does not reach the source"
close(*gradients)""",
    (Helper.CLOSE, Helper.DATA, Helper.PLACE, Helper.SPREAD, Helper.BACKWARD),
    ("torch.nn.utils.prune",),
)

SET_FROM_VECTOR = Snippet(
    """layer(*given)
for each in (layer, reference):
    halves = [0.5 * parameter.detach() for parameter in each.parameters()]
    vector = torch.nn.utils.parameters_to_vector(halves)
    torch.nn.utils.vector_to_parameters(vector, each.parameters())
"""
    + snippets.BOTH.code,
    (Helper.CLOSE,),
)

ADDED_BY_USER = Snippet(
    """layer.register_parameter("added_by_user", torch.nn.Parameter(torch.ones(3)))
layer.register_buffer("counted_by_user", torch.zeros(2))
state = layer.state_dict()
assert "added_by_user" in state and "counted_by_user" in state, list(state)
"""
    + snippets.BOTH.code,
    (Helper.CLOSE,),
)

FLATTEN_PARAMETERS = (
    Snippet("layer(*given)\nlayer.flatten_parameters()") + SAME_PARAMETERS + snippets.BOTH
)
