"""Last lines of programs about dropout.

Their results are random, so the programs compare distributions, or set the same seed before each
call. The lines can use the names of `Snippet`, and `wide` after `add_wide_input`.
"""

from __future__ import annotations

from rnnspec.cases.case import Case
from rnnspec.rulekit.snippet import Helper, Snippet

PADDED = Snippet("wide = torch.ones(16, 16, config['input_size']).to(x.dtype)")
UNBATCHED = Snippet("wide = torch.ones(64, config['input_size']).to(x.dtype)")
PACKED = Snippet(f"""{PADDED.code}
lengths, batch_first = [16 - n // 2 for n in range(16)], config.get("batch_first", False)
wide = torch.nn.utils.rnn.pack_padded_sequence(wide, lengths, batch_first=batch_first)""")

_MOMENTS = """def moments(each):
    torch.manual_seed(0)
    means = torch.stack([{mean}.detach() for _ in range(100)])
    return means.mean().item(), means.var().item()
(mean, var), (expected, other) = moments(layer), moments(reference)
assert abs(mean - expected) <= 6 * ((var + other) / 100) ** 0.5 + 1e-9
assert 0.6 * other <= var <= other / 0.6"""
MOMENTS = Snippet(_MOMENTS.format(mean="data(each(wide)[0]).double().mean()"), (Helper.DATA,))
MOMENTS_OF_STATES = Snippet(
    _MOMENTS.format(mean="sum(state.double().mean() for state in list_tensors(each(wide)[1]))"),
    (Helper.LIST_TENSORS,),
)

MASKS = Snippet(
    """def draw(each):
    # With these weights, a unit of the output is large if its value was kept at every boundary.
    directions = 2 if config.get("bidirectional") else 1
    with torch.no_grad():
        for name, weight in named(each).items():
            weight.zero_()
            if "weight_hr" in name:
                weight.copy_(torch.eye(*weight.shape))
                if "_l0" in name:
                    weight.add_(weight.roll(1, 1)).div_(2)
            if "weight_ih" in name:
                gates = weight.view(-1, config["hidden_size"], weight.size(1))
                if "_l0" in name:
                    gates.fill_(2 / weight.size(1))
                else:
                    own = gates.chunk(directions, -1)[name.endswith("_reverse")]
                    own.copy_(2 * (1 - config["dropout"]) * torch.eye(*own.shape[1:]))
                gates[1:2] *= -1
    torch.manual_seed(0)
    results = [each(wide)[0] for _ in range(100)]
    if not torch.is_tensor(results[0]):
        results = [torch.nn.utils.rnn.pad_packed_sequence(result)[0] for result in results]
    return torch.stack(results).detach().float()
def describe(results):
    kept = results > 0.6 * results.max()
    yield from (results, kept)
    for axis in range(kept.dim()):
        yield kept == kept.roll(1, axis)
        yield kept == kept.roll(kept.size(axis) // 2, axis)
        yield kept == kept.flip(axis)
        yield kept == kept.flip(axis).roll(kept.size(-1) // 2, -1)
rounding = max(1e-6, 4 * torch.finfo(x.dtype).eps)
for ours, theirs in zip(describe(draw(layer)), describe(draw(reference))):
    for axis in range(-1, ours.dim()):
        # The mean at each place along an axis, or of everything.
        places = [each[None].movedim(axis + 1, 0).flatten(1).double() for each in (ours, theirs)]
        (mean, var), (expected, other) = ((each.mean(1), each.var(1)) for each in places)
        noise = ((var + other) / places[0].size(1)) ** 0.5
        assert ((mean - expected).abs() <= 6 * noise + rounding * expected.abs()).all()""",
    (Helper.NAMED,),
)
"""Compares properties of masks with independent draws: how often the values at a place are dropped,
and the values at two places at once.
"""

FRESH_MASKS = Snippet(
    "assert not torch.equal(data(layer(wide)[0]), data(layer(wide)[0]))", (Helper.DATA,)
)

REPRODUCIBLE = Snippet(
    """def seeded():
    torch.manual_seed(0)
    return data(layer(*copy.deepcopy(given))[0])
assert all(torch.equal(seeded(), seeded()) for _ in range(20))""",
    (Helper.DATA,),
    ("copy",),
)

ATTRIBUTE_CHANGED = Snippet(
    """for p in (0.0, 1.0):
    layer.dropout = reference.dropout = p
    close(layer(*given)[0], reference(*given)[0])""",
    (Helper.CLOSE,),
)

INTEGER = Snippet(
    """for p in (0, 1):
    own = build(**dict(config, dropout=p)).to(x.dtype)
    other = type(reference)(**dict(config, dropout=p)).to(x.dtype)
    with torch.no_grad():
        for weight, right in zip(named(own).values(), named(other).values()):
            weight.copy_(right)
    close(own(*given)[0], other(*given)[0])""",
    (Helper.BUILD, Helper.CLOSE, Helper.NAMED),
)

OTHER_PROBABILITY = Snippet("layer.dropout = reference.dropout = {p}")

LOWER_STATES = Snippet(
    """def lower(each):
    return map_states(lambda state: state[: {count}], each(*given)[1])
close(lower(layer), lower(reference))""",
    (Helper.CLOSE, Helper.MAP_STATES),
)

BACKWARD = Snippet(
    """def total():
    torch.manual_seed(0)
    return spread(data(layer(wide)[0]))
parameters = [*named(layer).values()]
gradients = torch.autograd.grad(total(), parameters)
step, tolerance = (1e-5, 1e-3) if x.dtype == torch.float64 else (1e-2, 0.03)
with torch.no_grad():
    for parameter, gradient in zip(parameters, gradients):
        # A random direction of length 1, so that no element of the gradient goes unseen.
        direction = torch.randn_like(parameter)
        direction /= direction.norm()
        before = total()
        parameter.add_(direction, alpha=step)
        slope = float(total() - before) / step
        parameter.sub_(direction, alpha=step)
        allowed = tolerance * float(gradient.norm()) / parameter.numel() ** 0.5 + 1e-6
        assert abs(slope - float((gradient * direction).sum())) <= allowed""",
    (Helper.DATA, Helper.NAMED, Helper.SPREAD, Helper.BACKWARD),
)

LONG_MASKS = Snippet(
    """steps, size = 32, config["hidden_size"]
wide = torch.ones(steps, 2**16 // (steps * size) + 1, config["input_size"]).to(x.dtype)
wide = wide.transpose(0, 1) if config.get("batch_first") else wide
with torch.no_grad():
    for name, weight in named(layer).items():
        # Each unit of the second layer reads one unit of the first, and nothing else acts.
        weight.zero_()
        if "weight_hr" in name:
            weight.copy_(torch.eye(*weight.shape))
        if "weight_ih" in name:
            gates = weight.view(-1, size, weight.size(1))
            if "_l0" in name:
                gates.fill_(2 / weight.size(1))
            else:
                own = gates.chunk(2 if config.get("bidirectional") else 1, -1)
                own = own[name.endswith("_reverse")]
                own.copy_(torch.eye(*own.shape[1:]))
            gates[1:2] *= -1
def draw():
    large = layer(wide)[0].detach()
    large = large.transpose(0, 1) if config.get("batch_first") else large
    return [each.flatten() > 0.01 for each in (large, large.transpose(0, 1))]
def agree(kept, period):
    return (kept[period:] == kept[:-period]).double().mean()
torch.manual_seed(0)
for first, second in zip(draw(), draw()):
    centred = first.double() - first.double().mean()
    spectrum = torch.fft.rfft(centred, 2 * len(centred))
    period = 1 + int(torch.fft.irfft(spectrum.abs() ** 2)[1 : len(centred) // 2].argmax())
    chance = second.double().mean() ** 2 + (1 - second.double().mean()) ** 2
    assert agree(second, period) <= chance + 0.05""",
    (Helper.NAMED,),
)

LATER_BACKWARD = Snippet(
    """def total():
    torch.manual_seed(0)
    return spread(data(layer(wide)[0]))
leaves = [*named(layer).values()]
first = torch.autograd.grad(total(), leaves)
result = total()
{between}
for _ in range(2):
    for one, other in zip(first, torch.autograd.grad(result, leaves, retain_graph=True)):
        close(other, one)""",
    (Helper.CLOSE, Helper.DATA, Helper.NAMED, Helper.SPREAD, Helper.BACKWARD),
)


def add_wide_input(case: Case, snippet: Snippet) -> Snippet:
    """Return the snippet after lines that define `wide`, an input in the layout of the case.

    It is large enough to distinguish distributions.
    """
    wide = PACKED if case.is_packed else PADDED if case.is_batched else UNBATCHED
    return wide + snippet
