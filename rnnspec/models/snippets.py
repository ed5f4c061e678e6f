"""The last lines of reproduction programs for models.

They pass for a correct model and fail for the checked model. Names in scope: `build(seed)`, which
returns a model in evaluation mode; `model`, the model itself; `draw(batch, steps)`, which returns
an input; `predict(model, x)`, which returns the prediction, and takes lengths as a third argument
if the model does; `x`, an input of the sizes of the case, unless the first line draws another;
`BATCH` and `TIME`, its dimensions; and `torch`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rnnspec.models.case import ModelCase
from rnnspec.models.forms import Readout
from rnnspec.rulekit.snippet import Snippet

CALL = Snippet("""\
prediction = predict(model, x)
if prediction.requires_grad:
    prediction.sum().backward()""")
"""For a fault that stops the call itself, or the gradients of the prediction."""

SHAPE = {
    Readout.LAST: (
        "assert prediction.dim() == 2 and prediction.shape[0] == x.shape[BATCH], prediction.shape"
    ),
    Readout.EVERY: (
        "sizes = (x.shape[BATCH], x.shape[TIME])\n"
        "assert prediction.dim() == 3 and prediction.shape[:2] == sizes, prediction.shape"
    ),
}

REPEATED_CALL = Snippet("""\
first = predict(model, x)
predict(model, draw({batch}, {steps}))
again = predict(model, x)
assert torch.equal(first, again), (first - again).abs().max()""")

TRAIN_EVAL = Snippet("""\
from unittest import mock
names = ("dropout", "dropout1d", "dropout2d", "dropout3d")
names += ("alpha_dropout", "feature_alpha_dropout")
for module in model.modules():
    if hasattr(module, "weight_hh_l0"):
        module.dropout = 0.0
keep = dict.fromkeys(names, lambda x, *_, **__: x)
with mock.patch.multiple(torch.nn.functional, **keep):
    evaluated = predict(model, x)
    model.train()
    torch.testing.assert_close(predict(model, x), evaluated)""")

KEEP_GIVEN = """\
given = [(x, x.clone(), x._version)]
def record(_, taken, named):
    leaves = torch.utils._pytree.tree_flatten([taken, named])[0]
    tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
    given.extend((each, each.clone(), each._version) for each in tensors)
model.register_forward_pre_hook(record, with_kwargs=True)
predict(model, x{lengths})
for tensor, kept, version in given:
    assert torch.equal(tensor, kept), (tensor, kept)
    assert tensor._version == version, "the call writes to what it is given\""""

STATE_DICT = Snippet("""\
other = build(seed=1)
other.load_state_dict(model.state_dict())
assert torch.equal(predict(other, x), predict(model, x))""")

META_DEVICE = Snippet("""\
model = model.to("meta")
prediction = predict(model, x.to("meta"))
assert prediction.device.type == "meta", prediction.device""")

DEFAULT_DEVICE = Snippet("""\
with torch.device("meta"):
    prediction = predict(model, x)
assert prediction.device.type == "cpu", prediction.device""")

STATE_DTYPE = Snippet("""\
model = model.double()
predict(model, x.double() if x.is_floating_point() else x)""")

FLOAT64 = Snippet("""\
model = model.double()
prediction = predict(model, x.double() if x.is_floating_point() else x)
assert prediction.dtype == torch.float64, prediction.dtype""")

SMALL_CHANGES = """\
x = x.double() if x.is_floating_point() else x
model = model.double()
parameter = dict(model.named_parameters())["{name}"]
predictions = [predict(model, x)]
for _ in range(5):
    with torch.no_grad():
        parameter.mul_(1 + 1e-13)
    predictions.append(predict(model, x))
same = [torch.equal(one, other) for one, other in zip(predictions, predictions[1:])]
assert not any(same), "a change below float32's resolution is lost\""""

CHECK_SHAPE = """\
prediction = predict(model, x)
{shape}"""

CHECK_SIZES = """\
for batch, steps in {sizes}:
    x = draw(batch, steps)
    prediction = predict(model, x)
{shape}
    assert prediction.isfinite().all()"""

REJECT_ID = """\
try:
    prediction = predict(model, x.fill_({token_id}))
except Exception:
    pass
else:
    raise AssertionError(f"id {token_id} gave {{prediction}}")"""

SEPARATE_SAMPLES = """\
torch.manual_seed(0)
before = predict(model, x{lengths}).select({dimension}, {target})
for seed in range(9):
    torch.manual_seed(seed)
    changed = draw({batch}, {steps}).select(BATCH, {source})
    x.select(BATCH, {source}){slice} = changed{first}
    torch.manual_seed(0)
    after = predict(model, x{lengths}).select({dimension}, {target})
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6, equal_nan=True)"""

COMPARE_BATCHES = """\
x = draw({many}, {steps})
few = predict(model, x.narrow(BATCH, 0, {few}).contiguous())
torch.testing.assert_close(few, predict(model, x)[:{few}])"""

COMPARE_GIVEN = """\
x = draw({batch}, {long})
given = []
watched = dict(model.named_modules())[{name!r}]
record = lambda _, taken, named: given.append([*taken, *named.values()][0].data)
watched.register_forward_pre_hook(record, with_kwargs=True)
predict(model, x.narrow(TIME, 0, {short}).contiguous())
number = len(given)
predict(model, x)
for short, long in zip(given[:number], given[number:]):
    torch.testing.assert_close(short, long[tuple(map(slice, short.shape))])"""

COMPARE_LENGTHS = """\
x = draw({batch}, {long})
short = predict(model, x.narrow(TIME, 0, {short}).contiguous())
torch.testing.assert_close(short, predict(model, x)[:, :{short}])"""

COMPARE_STEPS = """\
before = predict(model, x).select(1, {step})
same = []
for _ in range(9):
    x.select(TIME, {position})[:] = draw({batch}, {steps}).select(TIME, {position})
    after = predict(model, x).select(1, {step})
    same.append(torch.allclose(after, before, rtol=1e-5, atol=1e-6))
assert {condition}, same"""

CHANGE_POSITIONS = """\
before = predict(model, x)
same = []
for _ in range(9):
    for position in {positions}:
        changed = draw({batch}, {steps}).select(TIME, position)
        x.select(TIME, position)[:] = changed
    same.append(torch.equal(before, predict(model, x)))
assert not all(same)"""

REACH_PARAMETERS = """\
(prediction := predict(model, x)).backward(torch.rand_like(prediction) + 0.5)
named = dict(model.named_parameters())
for name in {names}:
    gradient = named[name].grad
    assert gradient is not None and gradient.any(), f"{{name}} takes no part\""""

CHANGE_PARAMETERS = """\
before = predict(model, x)
with torch.no_grad():
    for name in {names}:
        model.get_parameter(name).add_(1.0)
assert not {names} or not torch.equal(before, predict(model, x))
for name in {misspelt}:
    owner, _, attribute = name.rpartition(".")
    owner = dict([*model.named_modules(), *model.named_parameters()])[owner]
    assert attribute not in {{*vars(owner), *getattr(owner, "_parameters", ())}}, name"""

COMPARE_READOUTS = """\
{first} = predict(model, x)
model.{name} = not model.{name}
{second} = predict(model, x)
torch.testing.assert_close(one, every.select(1, -1))"""

APPEND_PADDING = """\
x = draw({batch}, {steps})
lengths = torch.tensor({lengths})
for sample, length in enumerate(lengths):
    x.select(BATCH, sample)[length:] = {padding}
short = x.narrow(BATCH, {sample}, 1).narrow(TIME, 0, {length})
alone = predict(model, short{alone})
padded = predict(model, x{padded})[{sample} : {sample} + 1]
if padded.dim() == 3:
    padded = padded[:, :{length}]
torch.testing.assert_close(padded, alone)"""


def change_slightly(name: str) -> Snippet:
    """Assert that changes of a parameter below float32's resolution change the prediction."""
    return Snippet(SMALL_CHANGES).format(name=name)


def check_shape(readout: Readout) -> Snippet:
    """Assert that the prediction for x has the expected shape."""
    return Snippet(CHECK_SHAPE).format(shape=SHAPE[readout])


def check_sizes(sizes: Sequence[tuple[int, int]], readout: Readout) -> Snippet:
    """Assert that the same model accepts inputs of several sizes (batch, steps) in turn."""
    shape = textwrap.indent(SHAPE[readout], "    ")
    return Snippet(CHECK_SIZES).format(sizes=list(sizes), shape=shape)


def reject_id(token_id: int) -> Snippet:
    """Assert that the model rejects a token id outside the vocabulary."""
    return Snippet(REJECT_ID).format(token_id=token_id)


def repeat_call(case: ModelCase) -> Snippet:
    """Assert that the same input gives the same prediction again."""
    return REPEATED_CALL.format(batch=case.batch, steps=case.steps)


def keep_given(lengths: Sequence[int], *, training: bool) -> Snippet:
    """Assert that a call does not write into its arguments; it passes lengths only if given."""
    given = f", torch.tensor({list(lengths)})" if lengths else ""
    lines = f"model.train()\n{KEEP_GIVEN}" if training else KEEP_GIVEN
    return Snippet(lines).format(lengths=given)


def separate_samples(
    case: ModelCase,
    source: int,
    target: int,
    *,
    lengths: Sequence[int] = (),
    padding: int = 0,
    takes_lengths: bool = False,
    training: bool = False,
) -> Snippet:
    """Assert that no change of the sample `source` changes the prediction for `target`.

    With lengths, the sequences of the batch end there, followed by padding.
    """
    lines = SEPARATE_SAMPLES
    if lengths:
        cut = f"    x.select(BATCH, sample)[length:] = {padding}"
        lines = f"for sample, length in enumerate({list(lengths)}):\n{cut}\n{lines}"
    if training:
        lines = f"model.train()\n{lines}"
    return Snippet(lines).format(
        dimension=0,
        lengths=f", torch.tensor({list(lengths)})" if takes_lengths and lengths else "",
        source=source,
        target=target,
        batch=case.batch,
        steps=case.steps,
        slice="[0]" if lengths else "[:]",
        first="[0]" if lengths else "",
    )


def compare_batches(few: int, many: int, steps: int) -> Snippet:
    """Assert that the first samples of a batch have the same predictions alone."""
    return Snippet(COMPARE_BATCHES, draws_input=True).format(few=few, many=many, steps=steps)


def compare_lengths(batch: int, short: int, long: int, name: str | None) -> Snippet:
    """Assert that longer sequences start with the same predictions, or the same module inputs."""
    lines = COMPARE_LENGTHS if name is None else COMPARE_GIVEN
    return Snippet(lines, draws_input=True).format(batch=batch, short=short, long=long, name=name)


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


def reach_parameters(names: Sequence[str], *, training: bool = False) -> Snippet:
    """Assert that these parameters have a gradient that is not zero."""
    lines = f"model.train()\n{REACH_PARAMETERS}" if training else REACH_PARAMETERS
    return Snippet(lines).format(names=list(names))


def change_parameters(names: Sequence[str], misspelt: Sequence[tuple[str, str]]) -> Snippet:
    """Assert that frozen parameters have an effect, and that no attribute is misspelt."""
    wrong = [name for name, _ in misspelt]
    return Snippet(CHANGE_PARAMETERS).format(names=list(names), misspelt=wrong)


def compare_readouts(name: str, readout: Readout) -> Snippet:
    """Assert that both read-outs of a model agree at the last step.

    `name` is the attribute that switches between them; `readout` is the read-out of the built
    model.
    """
    first, second = ("every", "one") if readout is Readout.EVERY else ("one", "every")
    return Snippet(COMPARE_READOUTS).format(first=first, second=second, name=name)


def append_padding(
    case: ModelCase, lengths: Sequence[int], padding: int, *, takes_lengths: bool
) -> Snippet:
    """Assert that the padding after the shortest sequence does not change its prediction."""
    sample = lengths.index(min(lengths))
    return Snippet(APPEND_PADDING, draws_input=True).format(
        batch=case.batch,
        steps=case.steps,
        lengths=list(lengths),
        padding=padding,
        sample=sample,
        length=lengths[sample],
        alone=f", lengths[{sample} : {sample} + 1]" if takes_lengths else "",
        padded=", lengths" if takes_lengths else "",
    )
