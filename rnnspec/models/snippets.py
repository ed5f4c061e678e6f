"""The last lines of reproduction programs for models.

They pass for a correct model and fail for the one that is checked. Names in scope: `build(seed)`,
which returns a model in evaluation mode; `model`, the model itself; `draw(batch, steps)`, which
returns an input; `x`, an input of the sizes of the case; `BATCH` and `TIME`, its dimensions; and
`torch`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.models.case import ModelCase
from rnnspec.models.observation import Readout
from rnnspec.rulekit.snippet import Snippet

CALL = Snippet("model(x)")
"""For a fault that stops the call itself."""

SHAPE = {
    Readout.LAST: (
        "assert prediction.dim() == 2 and prediction.shape[0] == x.shape[BATCH], prediction.shape"
    ),
    Readout.EVERY: (
        "assert prediction.dim() == 3 and prediction.shape[:2] == x.shape[:2], prediction.shape"
    ),
}

REPEATED_CALL = Snippet("""\
first = model(x)
model(draw({batch}, {steps}))
again = model(x)
assert torch.equal(first, again), (first - again).abs().max()""")

TRAIN_EVAL = Snippet("""\
nn = torch.nn
dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
dropouts += (nn.AlphaDropout, nn.FeatureAlphaDropout)
for module in model.modules():
    if isinstance(module, dropouts):
        module.p = 0.0
    elif hasattr(module, "weight_hh_l0"):
        module.dropout = 0.0
evaluated = model(x)
torch.testing.assert_close(model.train()(x), evaluated)""")

INPUT_KEPT = Snippet("""\
kept = x.clone()
model(x)
assert torch.equal(x, kept)""")

STATE_DICT = Snippet("""\
other = build(seed=1)
other.load_state_dict(model.state_dict())
assert torch.equal(other(x), model(x))""")

META_DEVICE = Snippet("""\
prediction = model.to("meta")(x.to("meta"))
assert prediction.device.type == "meta", prediction.device""")

DEFAULT_DEVICE = Snippet("""\
with torch.device("meta"):
    prediction = model(x)
assert prediction.device.type == "cpu", prediction.device""")

STATE_DTYPE = Snippet("model.double()(x.double() if x.is_floating_point() else x)")

FLOAT64 = Snippet("""\
prediction = model.double()(x.double() if x.is_floating_point() else x)
assert prediction.dtype == torch.float64, prediction.dtype""")

SMALL_CHANGES = """\
x = x.double() if x.is_floating_point() else x
model = model.double()
parameter = dict(model.named_parameters())["{name}"]
predictions = [model(x)]
for _ in range(5):
    with torch.no_grad():
        parameter.mul_(1 + 1e-13)
    predictions.append(model(x))
same = [torch.equal(one, other) for one, other in zip(predictions, predictions[1:])]
assert not any(same), "a change below float32's resolution is lost\""""

CHECK_SHAPE = """\
prediction = model(x)
{shape}"""

CHECK_SIZES = """\
for batch, steps in {sizes}:
    x = draw(batch, steps)
    prediction = model(x)
    {shape}
    assert prediction.isfinite().all()"""

REJECT_ID = """\
try:
    prediction = model(x.fill_({token_id}))
except Exception:
    pass
else:
    raise AssertionError(f"id {token_id} gave {{prediction}}")"""

SEPARATE_SAMPLES = """\
torch.manual_seed(0)
before = model(x).select({dimension}, {target})
for seed in range(9):
    torch.manual_seed(seed)
    changed = draw({batch}, {steps}).select(BATCH, {source})
    x.select(BATCH, {source}){slice} = changed{first}
    torch.manual_seed(0)
    after = model(x).select({dimension}, {target})
    assert torch.equal(before, after), (before, after)"""

COMPARE_STEPS = """\
before = model(x).select(TIME, {step})
same = []
for _ in range(9):
    x.select(TIME, {position})[:] = draw({batch}, {steps}).select(TIME, {position})
    same.append(torch.equal(before, model(x).select(TIME, {step})))
assert {condition}, same"""

CHANGE_POSITIONS = """\
before = model(x)
same = []
for _ in range(9):
    for position in {positions}:
        changed = draw({batch}, {steps}).select(TIME, position)
        x.select(TIME, position)[:] = changed
    same.append(torch.equal(before, model(x)))
assert not all(same)"""

REACH_PARAMETERS = """\
(prediction := model(x)).backward(torch.rand_like(prediction) + 0.5)
named = dict(model.named_parameters())
for name in {names}:
    gradient = named[name].grad
    assert gradient is not None and gradient.any(), f"{{name}} takes no part\""""

COMPARE_READOUTS = """\
{first} = model(x)
model.{name} = not model.{name}
{second} = model(x)
torch.testing.assert_close(one, every.select(TIME, -1))"""

APPEND_PADDING = """\
short = draw(1, {steps})
end = torch.full_like(short.narrow(TIME, 0, 1), {padding})
alone, padded = model(short), model(torch.cat([short, end, end], dim=TIME))
if padded.dim() == 3:
    padded = padded.narrow(TIME, 0, alone.shape[TIME])
torch.testing.assert_close(padded, alone)"""


def change_slightly(name: str) -> Snippet:
    """Assert that changes of a parameter below float32's resolution change the prediction."""
    return Snippet(SMALL_CHANGES).format(name=name)


def check_shape(readout: Readout) -> Snippet:
    """Assert that the prediction for x has the expected shape."""
    return Snippet(CHECK_SHAPE).format(shape=SHAPE[readout])


def check_sizes(sizes: Sequence[tuple[int, int]], readout: Readout) -> Snippet:
    """Assert that one model accepts inputs of several sizes (batch, steps), one after the other."""
    return Snippet(CHECK_SIZES).format(sizes=list(sizes), shape=SHAPE[readout])


def reject_id(token_id: int) -> Snippet:
    """Assert that the model rejects a token id outside the vocabulary."""
    return Snippet(REJECT_ID).format(token_id=token_id)


def repeat_call(case: ModelCase) -> Snippet:
    """Assert that the same input gives the same prediction again."""
    return REPEATED_CALL.format(batch=case.batch, steps=case.steps)


def separate_samples(
    case: ModelCase,
    source: int,
    target: int,
    readout: Readout,
    *,
    padding: int | None = None,
    training: bool = False,
) -> Snippet:
    """Assert that no change of the sample `source` changes the prediction for `target`.

    With a padding id, the sequences of the batch have different lengths.
    """
    lines = SEPARATE_SAMPLES
    if padding is not None and case.batch > 2:
        lines = f"x.select(BATCH, 0)[-2:] = x.select(BATCH, 2)[-1:] = {padding}\n{lines}"
    if training:
        lines = f"model.train()\n{lines}"
    return Snippet(lines).format(
        dimension="0" if readout is Readout.LAST else "BATCH",
        source=source,
        target=target,
        batch=case.batch,
        steps=case.steps,
        slice="[:]" if padding is None else "[0]",
        first="" if padding is None else "[0]",
    )


def compare_steps(case: ModelCase, position: int, step: int, *, same: bool) -> Snippet:
    """Assert that no change at a position changes the prediction at a step, or that some does."""
    return Snippet(COMPARE_STEPS).format(
        position=position,
        step=step,
        batch=case.batch,
        steps=case.steps,
        condition="all(same)" if same else "not all(same)",
    )


def change_positions(case: ModelCase, positions: Sequence[int]) -> Snippet:
    """Assert that some change at these positions changes the prediction."""
    return Snippet(CHANGE_POSITIONS).format(
        positions=list(positions), batch=case.batch, steps=case.steps
    )


def reach_parameters(names: Sequence[str]) -> Snippet:
    """Assert that these parameters have a gradient that is not zero."""
    return Snippet(REACH_PARAMETERS).format(names=list(names))


def compare_readouts(name: str, readout: Readout) -> Snippet:
    """Assert that both read-outs of a model agree at the last step.

    `name` is the attribute that switches between them; `readout` is the one the model is built
    with.
    """
    first, second = ("every", "one") if readout is Readout.EVERY else ("one", "every")
    return Snippet(COMPARE_READOUTS).format(first=first, second=second, name=name)


def append_padding(padding: int, steps: int) -> Snippet:
    """Assert that padding after a sequence does not change its prediction."""
    return Snippet(APPEND_PADDING).format(padding=padding, steps=steps)
