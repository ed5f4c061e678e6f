"""Lines that end a stand-alone program: what they assert holds for a sound model and fails for the one under trial.

Names in scope: `build(seed)`, which gives a model in eval mode, `model`, `draw(batch, steps)`, which gives an input, `x`, one of the
case's size, `BATCH` and `TIME`, the axes of x, and `torch`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.models.case import ModelCase
from rnnspec.rulekit.snippet import Snippet

CALL = Snippet("model(x)")
"""For a check that the model itself stopped."""

LAST = "assert prediction.dim() == 2 and prediction.shape[0] == x.shape[BATCH], prediction.shape"
EVERY = "assert prediction.dim() == 3 and prediction.shape[:2] == x.shape[:2], prediction.shape"

AGAIN = Snippet("""\
first = model(x)
model(draw({batch}, {steps}))
again = model(x)
assert torch.equal(first, again), (first - again).abs().max()""")

TRAIN_EVAL = Snippet("""\
for module in model.modules():
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):
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

META = Snippet("""\
prediction = model.to("meta")(x.to("meta"))
assert prediction.device.type == "meta", prediction.device""")

DEFAULT = Snippet("""\
with torch.device("meta"):
    prediction = model(x)
assert prediction.device.type == "cpu", prediction.device""")

DTYPE = Snippet("model.double()(x.double() if x.is_floating_point() else x)")

FLOAT64 = Snippet("""\
prediction = model.double()(x.double() if x.is_floating_point() else x)
assert prediction.dtype == torch.float64, prediction.dtype""")


def move_by_digits(name: str) -> Snippet:
    """Each of several changes of a parameter, far below float32's resolution, moves the prediction of the model in float64."""
    return Snippet("x = x.double() if x.is_floating_point() else x\n"
        "model = model.double()\n"
        f'parameter = dict(model.named_parameters())["{name}"]\n'
        "predictions = [model(x)]\n"
        "for _ in range(5):\n"
        "    with torch.no_grad():\n"
        "        parameter.mul_(1 + 1e-13)\n"
        "    predictions.append(model(x))\n"
        "same = [torch.equal(one, other) for one, other in zip(predictions, predictions[1:])]\n"
        'assert not any(same), "a change below float32\'s resolution is lost"')


def check_shape(readout: str) -> Snippet:
    """The prediction for x has the promised shape."""
    return Snippet(f"prediction = model(x)\n{LAST if readout == 'last' else EVERY}")


def check_sizes(case_sizes: Sequence[tuple[int, int]], readout: str) -> Snippet:
    """So has the prediction for each of several sizes, one after the other, and it is finite."""
    return Snippet(f"for batch, steps in {list(case_sizes)}:\n"
        "    x = draw(batch, steps)\n"
        "    prediction = model(x)\n"
        f"    {LAST if readout == 'last' else EVERY}\n"
        "    assert prediction.isfinite().all()")


def reject_id(wrong: int) -> Snippet:
    """An id outside the vocabulary is refused."""
    return Snippet("try:\n"
        f"    prediction = model(x.fill_({wrong}))\n"
        "except Exception:\n"
        "    pass\n"
        "else:\n"
        f'    raise AssertionError(f"id {wrong} gave {{prediction}}")')


def repeat_call(case: ModelCase) -> Snippet:
    """The same input gives the same prediction again."""
    return AGAIN.format(batch=case.batch, steps=case.steps)


def separate_samples(
    case: ModelCase,
    source: int,
    target: int,
    readout: str,
    *,
    padding: int | None = None,
    training: bool = False,
) -> Snippet:
    """No change of one sample changes the prediction for another; with a padding id, in a batch of different lengths."""
    axis = "0" if readout == "last" else "BATCH"
    padded = (
        f"x.select(BATCH, 0)[-2:] = x.select(BATCH, 2)[-1:] = {padding}\n"
        if padding is not None and case.batch > 2
        else ""
    )
    first = "[0]" if padding is not None else ""
    return Snippet(f"{'model.train()' + chr(10) if training else ''}{padded}"
        "torch.manual_seed(0)\n"
        f"before = model(x).select({axis}, {target})\n"
        "for seed in range(9):\n"
        "    torch.manual_seed(seed)\n"
        f"    x.select(BATCH, {source}){first or '[:]'} = draw({case.batch}, {case.steps}).select(BATCH, {source}){first}\n"
        "    torch.manual_seed(0)\n"
        f"    after = model(x).select({axis}, {target})\n"
        "    assert torch.equal(before, after), (before, after)")


def compare_steps(case: ModelCase, position: int, at: int, *, same: bool) -> Snippet:
    """No change at one position changes the prediction at a step; or some change does."""
    return Snippet(f"before = model(x).select(TIME, {at})\n"
        "same = []\n"
        "for _ in range(9):\n"
        f"    x.select(TIME, {position})[:] = draw({case.batch}, {case.steps}).select(TIME, {position})\n"
        f"    same.append(torch.equal(before, model(x).select(TIME, {at})))\n"
        f"assert {'all(same)' if same else 'not all(same)'}, same")


def change_positions(case: ModelCase, positions: Sequence[int]) -> Snippet:
    """Some change at these positions changes the prediction."""
    return Snippet("before = model(x)\n"
        "same = []\n"
        "for _ in range(9):\n"
        f"    for position in {list(positions)}:\n"
        f"        x.select(TIME, position)[:] = draw({case.batch}, {case.steps}).select(TIME, position)\n"
        "    same.append(torch.equal(before, model(x)))\n"
        "assert not all(same)")


def reach_parameters(names: Sequence[str]) -> Snippet:
    """A gradient that is not zero reaches these parameters."""
    return Snippet("(prediction := model(x)).backward(torch.rand_like(prediction) + 0.5)\n"
        "named = dict(model.named_parameters())\n"
        f"for name in {list(names)}:\n"
        "    gradient = named[name].grad\n"
        '    assert gradient is not None and gradient.any(), f"{name} takes no part"')


def compare_readouts(name: str, every_is_built: bool) -> Snippet:
    """Both read-outs of a model agree at the last step."""
    first, second = ("every", "one") if every_is_built else ("one", "every")
    return Snippet(f"{first} = model(x)\nmodel.{name} = not model.{name}\n{second} = model(x)\ntorch.testing.assert_close(one, every.select(TIME, -1))")


def append_padding(identity: int, steps: int) -> Snippet:
    """The prediction for one sequence does not change with padding after it."""
    return Snippet(f"short = draw(1, {steps})\n"
        f"end = torch.full_like(short.narrow(TIME, 0, 1), {identity})\n"
        "alone, padded = model(short), model(torch.cat([short, end, end], dim=TIME))\n"
        "torch.testing.assert_close(padded if padded.dim() == 2 else padded.narrow(TIME, 0, alone.shape[TIME]), alone)")
