"""Derive advice from a read-out map: lost or mixed information, and code that repairs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rnnspec.contract.clauses import Level
from rnnspec.readout.map import Columns, Layer, LayerResult, ReadoutMap, Tap
from rnnspec.text import join_words

ALONG_BATCH = (
    "{name} runs along the batch: its time dimension is the batch dimension, so the prediction for "
    "a sample depends on the samples before it."
)
STATES_VIEWED = (
    "h_n of {name} is reshaped as if the batch came first, so a prediction is made from the states "
    "of other samples."
)
SAMPLES_MIXED = "The prediction for a sample depends on other samples in the batch."
STEPS_FIRST = (
    "# if x is (steps, batch)"
    "; # if x is (batch, steps): index {name}'s output as output[:, step], and its states as "
    "h_n[row]"
)
UNMIX = (
    "# normalise, pool and reshape within each sample, "
    "never over the batch dimension (dim=0 of (batch, ...))"
)
PADDING_READ = (
    "Padding is read: the prediction for a sequence changes with the padding after its end. "
    "(If your data is padded on the left, add --padding-side left.)"
)
MASK = "# take the output at lengths - 1, or pool only over the steps before lengths"
PACK_WITH_LENGTHS = (
    "# pack with the length of each sequence, as in pack_padded_sequence(x, lengths.cpu(), ...)"
)
MASK_STEPS = (
    "mask = (torch.arange(output.size({time}), device=output.device){column} < lengths.to("
    "output.device){row}); # attention: scores.masked_fill(~mask, float('-inf')) before softmax; "
    "mean: (output * mask.unsqueeze(-1)).sum({time}) / mask.sum({time}).unsqueeze(-1); "
    "maximum: output.masked_fill(~mask.unsqueeze(-1), float('-inf')).amax({time})"
)
BACKWARD_LAST = (
    "The backward half of {name}'s output at the last step has read only the last position; what "
    "the backward direction computes from the earlier positions is lost."
)
STACKED_BACKWARD_LAST = (
    "The backward half of {name}'s output at the last step is the first backward step of its top "
    "layer, so the backward recurrence of layer {top} is unused."
)
FORWARD_FIRST = (
    "The forward half of {name}'s output at step 0 has read only the first position; what the "
    "forward direction computes from the later positions is lost."
)
STACKED_FORWARD_FIRST = (
    "The forward half of {name}'s output at step 0 is the first forward step of its top layer, so "
    "the forward recurrence of layer {top} is unused."
)
LOWER_LAYER = (
    "The prediction is made from a state of a lower layer of {name}; layer {top}, the top layer, "
    "is unused.{pair}"
)
ONE_DIRECTION = {
    1: (
        "Only the forward direction of {name}'s top layer is read; "
        "the backward direction is unused.{pair}"
    ),
    0: (
        "Only the backward direction of {name}'s top layer is read; "
        "the forward direction is unused.{pair}"
    ),
}
UNPACKED_AS_PAIR = (
    " {kind} returns a single state h_n, not a pair (h, c), and only its first entry is read."
)
STATES_AS_PAIR = (
    " What is read is h_n and c_n of one direction: they are two states, not two directions."
)
PACKED = "packed"
"""The name of a packed sequence in remedies."""
READ_EVERY_STEP = "# read every step: use no fixed length and no slice of the input"
READ_BOTH_ENDS = "features = torch.cat([forward[:, -1], backward[:, 0]], dim=-1)"
ATTACH = (
    "# remove the .detach(), .data, .item() or no_grad() between the parameter and the prediction"
)


@dataclass(frozen=True)
class Advice:
    """A problem of a read-out, which loses or mixes information.

    `rule` is the id of the rule that reports it. `level` is MUST if predictions are wrong, and
    SHOULD if the model still works. `problem` describes the problem and `remedy` is code.
    `explains` names the idle parameters that are a consequence. `where` is the line of the model's
    source that causes it, or empty if it is unknown.
    """

    rule: str
    level: Level
    problem: str
    remedy: str
    explains: tuple[str, ...] = ()
    where: str = ""

    @property
    def text(self) -> str:
        """The problem and the line of source."""
        return f"{self.problem}\n  {self.where}" if self.where else self.problem


def list_advice(readout: ReadoutMap) -> list[Advice]:
    """Return all advice on a read-out, MUST before SHOULD; the list is empty if nothing is lost."""
    found = [*_check_samples(readout), *_check_padding(readout)]
    if not readout.samples_mix:
        found += _check_directions(readout)
        found += _check_positions(readout, found)
    explained = {name for advice in found for name in advice.explains}
    return [*found, *_check_parameters(readout, explained)]


def write_remedy(layer: Layer, given: str = "x") -> str:
    """Return code that reads the last states of a layer completely, with `given` as its input."""
    states = "(h_n, c_n)" if layer.has_cell_state else "h_n"
    both = "torch.cat([h_n[-2], h_n[-1]], dim=-1)"
    features = both if layer.directions == 2 else "h_n[-1]"
    return f"_, {states} = {layer.expression}({given}); features = {features}"


def _write_tap_remedy(tap: Tap) -> str:
    """Return code that reads a layer completely, using packed input if the model does."""
    return write_remedy(tap.layer, PACKED if tap.is_packed else "x")


def _check_samples(readout: ReadoutMap) -> Iterator[Advice]:
    if not readout.samples_mix:
        return
    along = [tap.layer for tap in readout.taps if tap.along_batch]
    viewed = [tap for tap in readout.taps if LayerResult.STATES in tap.crosses]
    is_readout = bool(along) or any(tap.crosses for tap in readout.taps)
    rule = "readout.samples" if is_readout else "model.samples-independent"
    if along:
        problem, remedy = ALONG_BATCH.format(name=along[0].name), _write_batch_first(along[0])
        if along[0].batch_first and not readout.batch_first:
            remedy = f"{remedy}  {STEPS_FIRST.format(name=along[0].name)}"
    elif viewed:
        problem = STATES_VIEWED.format(name=viewed[0].layer.name)
        remedy = _write_tap_remedy(viewed[0])
    else:
        problem, remedy = SAMPLES_MIXED, UNMIX
    where = _find_line(readout.taps, LayerResult.STATES) if viewed and not along else ""
    yield Advice(rule, Level.MUST, problem, remedy, tuple(readout.parameters.idle), where)


def _find_line(taps: Iterable[Tap], crossing: LayerResult | None = None) -> str:
    """Return the first line that uses a part of a layer's results."""
    uses = [tap.uses for tap in taps if crossing is None or crossing in tap.crosses]
    return next((str(lines[0]) for lines in uses if lines), "")


def _write_batch_first(layer: Layer) -> str:
    return f"{layer.expression} = {layer.kind}(..., batch_first={not layer.batch_first})"


def _check_padding(readout: ReadoutMap) -> Iterator[Advice]:
    if not readout.padding or readout.samples_mix:
        return
    remedy = _write_padding_remedy(readout.taps[-1], readout) if readout.taps else MASK
    where = _find_line(readout.taps[-1:])
    yield Advice("readout.padding", Level.MUST, PADDING_READ, remedy, where=where)


def _write_padding_remedy(tap: Tap, readout: ReadoutMap) -> str:
    """Return code that keeps padding out of labels, of attention and pooling, or of states.

    The code does not pack the input if the model packs it already.
    """
    layer = tap.layer
    layout = f"batch_first={layer.batch_first}"
    time, row, column = (1, "[:, None]", "") if layer.batch_first else (0, "", "[:, None]")
    mask = MASK_STEPS.format(time=time, row=row, column=column)
    takes_several = len({step for step, _ in tap.steps}) > 1
    if tap.is_packed:
        # The layer reads no padding, so either later code reads it or the lengths are wrong.
        if readout.columns is Columns.STEPS or (tap.steps and takes_several):
            return mask
        return write_remedy(layer, PACKED) if tap.steps else PACK_WITH_LENGTHS
    pack = f"packed = pack_padded_sequence(x, lengths.cpu(), {layout}, enforce_sorted=False)"
    padded = f"output, _ = pad_packed_sequence({layer.expression}(packed)[0], {layout})"
    if readout.columns is Columns.STEPS:
        return f"{pack}; {padded}"
    if takes_several:
        return f"{pack}; {padded}; {mask}"
    return f"{pack}; {write_remedy(layer, PACKED)}"


def _check_directions(readout: ReadoutMap) -> Iterator[Advice]:
    for tap in readout.taps:
        if not tap.steps and not tap.states:
            continue
        problem = _describe_unused_part(tap, readout)
        if problem:
            idle = _list_own(readout.parameters.idle, tap)
            yield Advice(
                "readout.complete",
                Level.SHOULD,
                problem.format(**_list_words(tap)) + _describe_untrained(idle),
                _write_tap_remedy(tap),
                (*idle, *_list_own(readout.parameters.elsewhere, tap)),
                _find_line([tap]),
            )


def _describe_untrained(names: tuple[str, ...]) -> str:
    """Return a sentence about the parameters that are never trained, or an empty string."""
    if not names:
        return ""
    some = join_words(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"
    return f" {some} {'is' if len(names) == 1 else 'are'} never trained."


def _describe_unused_part(tap: Tap, readout: ReadoutMap) -> str | None:
    """Return a sentence about the part of a layer that the prediction does not use, or None.

    If a model makes several predictions, a prediction may use only one direction or a lower layer,
    as long as another uses the rest.
    """
    last = tap.length - 1
    top = tap.layer.num_layers - 1
    steps = {direction: {step for step, d in tap.steps if d == direction} for direction in (0, 1)}
    states = {direction for layer, direction in tap.states if layer == top}
    is_bidirectional = tap.layer.directions == 2
    is_stacked = tap.layer.num_layers > 1
    has_features = readout.columns is Columns.FEATURES
    is_shared = _is_read_elsewhere(readout, tap)
    if not tap.steps and not states:
        return None if is_shared else LOWER_LAYER
    if not is_bidirectional:
        return None
    if has_features and steps[1] == {last} and 1 not in states:
        return STACKED_BACKWARD_LAST if is_stacked else BACKWARD_LAST
    if has_features and steps[0] == {0} and 0 not in states:
        return STACKED_FORWARD_FIRST if is_stacked else FORWARD_FIRST
    unused = (d for d in (1, 0) if not is_shared and not steps[d] and d not in states)
    return next((ONE_DIRECTION[d] for d in unused), None)


def _list_words(tap: Tap) -> dict[str, object]:
    """Return the words for the sentences about a layer."""
    layer = tap.layer
    is_unpacked = (
        not layer.has_cell_state
        and not tap.steps
        and tap.states == ((0, 0),)
        and layer.num_layers * layer.directions == 2
    )
    pair = UNPACKED_AS_PAIR.format(kind=layer.kind) if is_unpacked else ""
    if layer.directions == 2 and not tap.steps and tap.cells == tap.hidden and len(tap.cells) == 1:
        pair = STATES_AS_PAIR
    return {"name": layer.name or "the layer", "top": layer.num_layers - 1, "pair": pair}


def _list_own(names: Iterable[str], tap: Tap) -> tuple[str, ...]:
    """Return the given parameter names that belong to a layer."""
    prefix = f"{tap.layer.name}." if tap.layer.name else ""
    return tuple(name for name in names if name.startswith(prefix))


def _is_read_elsewhere(readout: ReadoutMap, tap: Tap) -> bool:
    """Return whether other predictions of the model use the rest of a layer."""
    groups = readout.parameters
    return bool(_list_own(groups.elsewhere, tap)) and not _list_own(groups.idle, tap)


def _check_positions(readout: ReadoutMap, found: list[Advice]) -> Iterator[Advice]:
    if any(advice.rule == "readout.complete" for advice in found):
        return
    if readout.unread:
        positions = f"position{'s' * (len(readout.unread) > 1)} {join_words(readout.unread)}"
        problem = f"No prediction depends on {positions} (of 0 to {readout.positions - 1})."
        unused = [tap for tap in readout.taps if not tap.steps and not tap.states]
        if unused:
            problem += f" Nothing that {unused[0].layer.name or 'the layer'} returns is used."
        # A model that predicts at every step does not need the final states.
        taps = unused or (readout.taps[-1:] if readout.columns is Columns.FEATURES else ())
        remedy = _write_tap_remedy(taps[0]) if taps else READ_EVERY_STEP
    elif not readout.taps and _list_one_ended_features(readout):
        number = len(_list_one_ended_features(readout))
        problem = f"{number} of the read-out's features have read only one end of the sequence."
        remedy = READ_BOTH_ENDS
    else:
        return
    yield Advice("readout.complete", Level.SHOULD, problem, remedy, readout.parameters.idle)


def _list_one_ended_features(readout: ReadoutMap) -> list[int]:
    """Return the features that see only one end of the sequence, while others see all of it.

    Only for a model with idle parameters, which show that a recurrence is unused.
    """
    if readout.columns is not Columns.FEATURES or not readout.parameters.idle:
        return []
    visible = [readout.list_visible_positions(column) for column in range(len(readout.reach[0]))]
    if not any(len(positions) == readout.positions for positions in visible):
        return []
    ends = ((0,), (readout.positions - 1,))
    return [column for column, positions in enumerate(visible) if positions in ends]


def _check_parameters(readout: ReadoutMap, explained: set[str]) -> Iterator[Advice]:
    misspelt = {name for name, _ in readout.parameters.misspelt}
    known = explained | misspelt
    idle = [name for name in readout.parameters.idle if name not in known]
    if idle:
        names = join_words(idle)
        problem = (
            f"{names} cannot change any prediction: "
            "the gradient is exactly zero, and another value has no effect."
        )
        remedy = f"# use or remove: {names}"
        yield Advice("readout.parameters", Level.SHOULD, problem, remedy, tuple(idle))
    if readout.parameters.frozen_idle:
        names = join_words(readout.parameters.frozen_idle)
        problem = f"Frozen, {names} cannot change any prediction: another value has no effect."
        yield Advice("readout.parameters", Level.SHOULD, problem, f"# use or remove: {names}")
    for name, meant in readout.parameters.misspelt:
        problem = f"self.{name} is assigned, and torch reads no such attribute: it has no effect."
        right = f"{name.rpartition('.')[0]}.{meant}"
        yield Advice("readout.parameters", Level.SHOULD, problem, f"# assign to self.{right}")
    if readout.parameters.cut:
        names = join_words(readout.parameters.cut)
        problem = f"No gradient reaches {names}, although another value changes the prediction."
        yield Advice("model.gradients-reach", Level.MUST, problem, ATTACH)
