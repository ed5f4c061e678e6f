"""Lines that end a stand-alone program about modules; see `rnnspec.rulekit.snippets.results` for the names in scope."""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets import results as snippets

STATE_DICT = Snippet("""assert list(layer.state_dict()) == list(reference.state_dict()), list(layer.state_dict())
with torch.no_grad():
    for name, value in layer.state_dict().items():
        value.zero_()
assert not any(parameter.any() for parameter in layer.parameters())""")

DEEPCOPY = Snippet("""twin = copy.deepcopy(layer)
with torch.no_grad():
    for parameter in twin.parameters():
        parameter.add_(1.0)
close(layer(*given)[1], reference(*given)[1])""", (Helper.CLOSE,), ("copy",))

FROZEN = Snippet("""layer.train({train})
layer.requires_grad_(False)
other = {remade}
assert other.training == {train}, other.training
assert not any(parameter.requires_grad for parameter in other.parameters())""", imports=("copy", "pickle"))

NESTED = Snippet(f"""parent = torch.nn.ModuleDict({{"part": layer}})
assert not parent.eval()["part"].training and parent.train()["part"].training
{snippets.BOTH.code}""", (Helper.CLOSE,))

CONVERTED = Snippet("""layer.to(torch.float64)
assert all(parameter.dtype == torch.float64 for parameter in layer.parameters())""")

LOADED = Snippet("""for own, other in zip(layer.parameters(), reference.parameters()):
    assert torch.equal(own, other), own""")

SHARED = Snippet("""twin = copy.deepcopy(layer)
for name, parameter in list(layer.named_parameters()):
    setattr(twin, name, parameter)
torch.nn.ModuleList([layer, twin]).to(torch.float64)
assert all(one is other for one, other in zip(layer.parameters(), twin.parameters()))""", imports=("copy",))

TIE = Snippet("""for each in (layer, reference):
    each.to(torch.{other}).{second} = each.{first}
    each.to(x.dtype)
assert layer.{first} is layer.{second}
""")

TIED = Snippet(f"""{TIE.code}
close(layer(*given)[1], reference(*given)[1])
for each in (layer, reference):
    with torch.no_grad():
        each.{{first}}.mul_(0.5)
close(layer(*given)[1], reference(*given)[1])""", (Helper.CLOSE,))

TIED_GRADIENT = Snippet(f"""{TIE.code}
for each in (layer, reference):
    sum(spread(data(result)) for result in each(*given)).backward()
for one, other in zip(layer.parameters(), reference.parameters()):
    close(one.grad, other.grad)""", (Helper.CLOSE, Helper.DATA, Helper.SPREAD, Helper.BACKWARD))

TWICE = Snippet("""class Twice(torch.nn.Module):
    def forward(self, source):
        return 2 * source

    def right_inverse(self, weight):
        return weight / 2

for each in (layer, reference):
    for name, _ in list(each.named_parameters()):
        torch.nn.utils.parametrize.register_parametrization(each, name, Twice())
""")

PARAMETRIZED = Snippet(f"""{TWICE.code}
close(layer(*given)[0], reference(*given)[0])
for each in (layer, reference):
    with torch.no_grad():
        for parameter in each.parameters():
            parameter.mul_(0.5)
close(layer(*given)[0], reference(*given)[0])""", (Helper.CLOSE,))

PARAMETRIZED_GRADIENT = Snippet(f"""{TWICE.code}
for each in (layer, reference):
    sum(spread(data(result)) for result in each(*given)).backward()
sources = dict(layer.named_parameters())
for name, source in reference.named_parameters():
    close(sources[name].grad, source.grad)""", (Helper.CLOSE, Helper.DATA, Helper.SPREAD, Helper.BACKWARD))

FLATTEN = Snippet(f"""layer(*given)
layer.flatten_parameters()
{snippets.BOTH.code}""", (Helper.CLOSE,))
