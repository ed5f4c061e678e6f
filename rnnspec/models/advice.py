"""From a read-out map to advice: what is lost, and the code that keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rnnspec.models.layers import Layer
from rnnspec.models.readout import ReadoutMap
from rnnspec.models.taps import Tap


@dataclass(frozen=True)
class Advice:
    """One thing that the read-out loses or mixes.

    `rule` is the id of the rule that says so, `level` MUST where predictions are wrong and SHOULD where the model still works. `lost` is
    one sentence; `remedy` is code. `explains` names the idle parameters that follow from it.
    """

    rule: str
    level: str
    lost: str
    remedy: str
    explains: tuple[str, ...] = ()


def advise(readout: ReadoutMap) -> list[Advice]:
    """Every advice that the map supports, MUST before SHOULD; empty where the read-out is complete."""
    found = [*_samples(readout), *_padding(readout)]
    if not readout.samples_mix:
        found += _directions(readout)
        found += _positions(readout, found)
    explained = {name for advice in found for name in advice.explains}
    return [*found, *_parameters(readout, explained)]


def remedy(layer: Layer) -> str:
    """Code that reads a layer's last states completely, as its kind and its directions need it."""
    call = (
        f"_, (h_n, c_n) = {layer.call}(x)" if layer.kind == "LSTM" else f"_, h_n = {layer.call}(x)"
    )
    return f"{call}; features = {_last_states(layer)}"


def _last_states(layer: Layer) -> str:
    return "torch.cat([h_n[-2], h_n[-1]], dim=-1)" if layer.directions == 2 else "h_n[-1]"


def _samples(readout: ReadoutMap) -> Iterator[Advice]:
    if not readout.samples_mix:
        return
    along = [tap.layer for tap in readout.taps if tap.along_batch]
    viewed = [tap.layer for tap in readout.taps if "states" in tap.crosses]
    everything = tuple(readout.parameters.idle)
    if along:
        yield Advice(
            "readout.samples",
            "MUST",
            _ALONG.format(name=along[0].name),
            _layout(along[0]),
            everything,
        )
    elif viewed:
        yield Advice(
            "readout.samples",
            "MUST",
            _VIEWED.format(name=viewed[0].name),
            remedy(viewed[0]),
            everything,
        )
    elif any(tap.crosses for tap in readout.taps):
        yield Advice("readout.samples", "MUST", _MIXED, _UNMIX, everything)
    else:
        yield Advice("model.samples-independent", "MUST", _MIXED, _UNMIX, everything)


_ALONG = "{name} runs along the batch: its time axis is the batch axis, so each sample's prediction depends on the samples before it."
_VIEWED = "h_n of {name} is reshaped as if the batch came first: a prediction is made from the states of other samples."
_MIXED = "A sample's prediction depends on the other samples of its batch."
_UNMIX = "# normalise, pool and reshape within one sample only: never over the batch axis (dim=0 of (batch, ...))"


def _layout(layer: Layer) -> str:
    return f"{layer.call} = {layer.kind}(..., batch_first={not layer.batch_first})"


def _padding(readout: ReadoutMap) -> Iterator[Advice]:
    if not readout.padding or readout.samples_mix:
        return
    layer = readout.taps[-1].layer if readout.taps else None
    yield Advice("readout.padding", "MUST", _PADDED, _packed(layer) if layer else _MASK)


_PADDED = "Padding is read: a sequence's prediction changes with the padding after its end, which is where the last step is."
_MASK = "# take the output at lengths - 1, or pool over the steps before lengths only"


def _packed(layer: Layer) -> str:
    first = "True" if layer.batch_first else "False"
    pack = f"packed = pack_padded_sequence(x, lengths.cpu(), batch_first={first}, enforce_sorted=False)"
    return f"{pack}; {remedy(layer).replace('(x)', '(packed)')}"


def _directions(readout: ReadoutMap) -> Iterator[Advice]:
    for tap in readout.taps:
        if not tap.steps and not tap.states:
            continue
        case = _case(tap, readout)
        if case:
            yield Advice(
                "readout.complete",
                "SHOULD",
                case.format(**_words(tap)),
                remedy(tap.layer),
                _idle(readout, tap),
            )


def _case(tap: Tap, readout: ReadoutMap) -> str | None:
    """The sentence for what the prediction misses of this layer, the first that holds; None where it misses nothing."""
    last = readout.positions - 1
    top = tap.layer.num_layers - 1
    steps = {direction: {step for step, d in tap.steps if d == direction} for direction in (0, 1)}
    states = {direction for layer, direction in tap.states if layer == top}
    both = tap.layer.directions == 2
    deep = tap.layer.num_layers > 1
    if not tap.steps and not states:
        return _LOWER
    if both and readout.columns == "features" and steps[1] == {last} and 1 not in states:
        return _STACKED_BACKWARD if deep else _BACKWARD
    if both and readout.columns == "features" and steps[0] == {0} and 0 not in states:
        return _STACKED_FORWARD if deep else _FORWARD
    if both:
        return next((_ONE[d] for d in (1, 0) if not steps[d] and d not in states), None)
    return None


_BACKWARD = (
    "The backward half of {name}'s output at the last step has read the last position alone: what the backward direction makes of all the "
    "earlier positions is lost."
)
_STACKED_BACKWARD = (
    "The backward half of {name}'s output at the last step is its top layer's first backward step: the backward recurrence of layer {top} "
    "takes no part."
)
_FORWARD = "The forward half of {name}'s output at step 0 has read the first position alone: what it makes of all the later ones is lost."
_STACKED_FORWARD = "The forward half of {name}'s output at step 0 is its top layer's first step: the forward recurrence of layer {top} takes no part."
_LOWER = "The prediction is made from a state of a lower layer of {name}: layer {top}, the top one, takes no part.{pair}"
_ONE = {
    1: "Only the forward direction of {name} is read: the backward direction of its top layer takes no part.{pair}",
    0: "Only the backward direction of {name} is read: the forward direction of its top layer takes no part.{pair}",
}
_PAIR = (
    " {kind} returns one state, h_n, and no pair: unpacked as (h, c), h is its first entry alone."
)


def _words(tap: Tap) -> dict[str, object]:
    layer = tap.layer
    single = (
        layer.kind != "LSTM"
        and not tap.steps
        and tap.states == ((0, 0),)
        and layer.num_layers * layer.directions == 2
    )
    pair = _PAIR.format(kind=layer.kind) if single else ""
    return {"name": layer.name or "the layer", "top": layer.num_layers - 1, "pair": pair}


def _idle(readout: ReadoutMap, tap: Tap) -> tuple[str, ...]:
    prefix = f"{tap.layer.name}." if tap.layer.name else ""
    return tuple(name for name in readout.parameters.idle if name.startswith(prefix))


def _positions(readout: ReadoutMap, found: list[Advice]) -> Iterator[Advice]:
    if any(advice.rule == "readout.complete" for advice in found):
        return
    if readout.unread:
        where = f"position{'s' * (len(readout.unread) > 1)} {_listed(readout.unread)}"
        lost = f"No prediction depends on {where} of 0 to {readout.positions - 1}: what is there is lost."
        code = (
            remedy(readout.taps[-1].layer)
            if readout.taps
            else "# read every step: no fixed length, no slice of the input"
        )
        yield Advice("readout.complete", "SHOULD", lost, code, readout.parameters.idle)
    elif not readout.taps and _half_blind(readout):
        lost = f"{len(_half_blind(readout))} of the read-out's features have read one end of the sequence alone."
        code = "features = torch.cat([forward[:, -1], backward[:, 0]], dim=-1)"
        yield Advice("readout.complete", "SHOULD", lost, code, readout.parameters.idle)


def _half_blind(readout: ReadoutMap) -> list[int]:
    """The features that see one end alone while others see all, in a model where an idle parameter says that a recurrence is unused."""
    if readout.columns != "features" or not readout.parameters.idle:
        return []
    seen = [readout.sees(column) for column in range(len(readout.reach[0]))]
    full = any(len(positions) == readout.positions for positions in seen)
    return [
        column
        for column, positions in enumerate(seen)
        if full and positions in ((0,), (readout.positions - 1,))
    ]


def _parameters(readout: ReadoutMap, explained: set[str]) -> Iterator[Advice]:
    idle = [name for name in readout.parameters.idle if name not in explained]
    if idle:
        lost = f"{_listed(idle)} can change no prediction: exactly zero gradient, and no effect of another value."
        yield Advice(
            "readout.parameters", "SHOULD", lost, f"# use or remove: {_listed(idle)}", tuple(idle)
        )
    if readout.parameters.cut:
        names = _listed(readout.parameters.cut)
        lost = f"{names} can change the prediction, but no gradient reaches it: it never learns."
        yield Advice("model.gradients-reach", "MUST", lost, _ATTACH)


_ATTACH = "# remove the .detach(), .data, .item() or no_grad() between it and the prediction"


def _listed(items: Iterable[object]) -> str:
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
