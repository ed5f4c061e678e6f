"""Last lines of programs about dropout.

Their results are random, so the programs compare distributions, or set the same seed before each
call. The names in scope are those of `Snippet`, and `wide` after `add_wide_input`.
"""

from __future__ import annotations

from rnnspec.cases.case import Case
from rnnspec.rulekit.snippet import Helper, Snippet

PADDED = Snippet("wide = torch.ones(16, 16, config['input_size']).to(x.dtype)")
UNBATCHED = Snippet("wide = torch.ones(64, config['input_size']).to(x.dtype)")
PACKED = Snippet(f"""{PADDED.code}
lengths, batch_first = [16 - n // 2 for n in range(16)], config.get("batch_first", False)
wide = torch.nn.utils.rnn.pack_padded_sequence(wide, lengths, batch_first=batch_first)""")

MOMENTS = Snippet(
    """def means(each):
    torch.manual_seed(0)
    return torch.stack([data(each(wide)[0]).detach().double().mean() for _ in range(100)])
ours, theirs = means(layer), means(reference)
assert (ours.mean() - theirs.mean()).abs() <= 6 * ((ours.var() + theirs.var()) / 100) ** 0.5 + 1e-9
assert 0.6 * theirs.var() <= ours.var() <= theirs.var() / 0.6""",
    (Helper.DATA,),
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
"""What the mask of one boundary, or of several, has in other shares than independent draws: how
often values at a place are dropped, and two places at once.
"""

FRESH_MASKS = Snippet(
    "assert not torch.equal(data(layer(wide)[0]), data(layer(wide)[0]))", (Helper.DATA,)
)

REPRODUCIBLE = Snippet(
    """def seeded():
    torch.manual_seed(0)
    return data(layer(*given)[0])
assert all(torch.equal(seeded(), seeded()) for _ in range(20))""",
    (Helper.DATA,),
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
    "close(layer(*given)[1][: {count}], reference(*given)[1][: {count}])", (Helper.CLOSE,)
)

BACKWARD = Snippet(
    """parameters = [parameter for name, parameter in named(layer).items() if "_l0" in name]
def total():
    torch.manual_seed(0)
    return spread(data(layer(wide)[0]))
before = total()
gradients = torch.autograd.grad(before, parameters)
slope = float(sum(gradient.square().sum() for gradient in gradients) ** 0.5)
step, tolerance = (1e-5, 1e-3) if x.dtype == torch.float64 else (1e-2, 0.03)
with torch.no_grad():
    for parameter, gradient in zip(parameters, gradients):
        parameter.add_(gradient, alpha=step / slope)
    assert abs(float(total() - before) / (step * slope) - 1) <= tolerance""",
    (Helper.DATA, Helper.NAMED, Helper.SPREAD, Helper.BACKWARD),
)


def add_wide_input(case: Case, snippet: Snippet) -> Snippet:
    """Return the snippet after lines that define `wide`, an input in the layout of the case.

    It is large enough to distinguish distributions.
    """
    wide = PACKED if case.is_packed else PADDED if case.is_batched else UNBATCHED
    return wide + snippet
