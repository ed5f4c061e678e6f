"""What the search for an adapter found, in words and as the source of a declaration."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path

from rnnspec.adapters.declaration import CellDeclaration, write_value
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.inference.inferred import Inferred, Outcome
from rnnspec.text import make_printable

LABEL_WIDTH = 12


def describe_briefly(found: Inferred) -> str:
    """Return what a report says about an adapter that was found."""
    where = f"`rnnspec adapt {found.label}` shows it"
    if found.outcome is Outcome.NOT_FOUND:
        return f"the adapter is the closest that was found: {explain_rest(found)}; {where}"
    total = len(found.matched)
    doubts = f", but {'; '.join(found.doubts)}" if found.doubts else ""
    return f"an adapter was found for all {total} parameters{doubts}; {where}"


def format_found(found: Inferred) -> str:
    """Return everything that was found, with the declaration and the outcome in the last line."""
    return make_printable("\n".join(_list_lines(found)), keep="\n")


def write_source(found: Inferred, folder: str = ".") -> str:
    """Return the source of a file that declares the adapter under the name of the layer.

    The file will be in `folder`; that of the layer is named as it is found from there.
    """
    place, _, attribute = found.label.rpartition(":")
    name, target = attribute.split(".")[-1], found.label
    if place.endswith(".py") and not Path(place).is_absolute():
        target = f"{Path(os.path.relpath(place, folder)).as_posix()}:{attribute}"
    call = found.declaration.write_call(write_value(target))
    head = f'"""How rnnspec builds and calls {found.label}, found by `rnnspec adapt`."""'
    return f"{head}\n\nimport rnnspec.adapt as adapt\n\n{name} = {call}\n"


def _list_lines(found: Inferred) -> Iterator[str]:
    declaration, page = found.declaration, LAYER_KINDS[found.declaration.kind].page
    what = "a step of a layer" if isinstance(declaration, CellDeclaration) else "a layer"
    yield f"{found.label}   {what} like {page}   ({found.duration_s:.1f} s)"
    yield ""
    total = sum(map(len, (found.matched, found.by_name, found.unknown, found.unused)))
    yield _align("weights", f"{len(found.matched)} of {total} shown by what the layer computes")
    if found.by_name:
        yield _align("by name", ", ".join(found.by_name))
    if found.unknown:
        yield _align("extra", ", ".join(found.unknown))
    if found.unused:
        yield _align("unused", f"{', '.join(found.unused)} (they change nothing)")
    yield _align("call", f"({declaration.call}) returns ({declaration.returns})")
    for doubt in found.doubts:
        yield _align("doubt", doubt)
    if not found.deviations:
        yield _align("compared", "equal to the reference, exactly if no sum rounds")
    for what, text in found.deviations.items():
        yield _align("differs", f"{what}: {text}")
    if found.is_documented and found.outcome is not Outcome.NOT_FOUND:
        yield from ("", _conclude(found))
        return
    lacking = [feature.text for feature in found.adapter.unsupported if feature.text not in HIDDEN]
    if lacking:
        yield _align("lacks", ", ".join(lacking))
    yield ""
    yield write_source(found)
    yield _conclude(found)


HIDDEN = ("drop-in", "pickle")
"""What every adapted layer lacks."""


def _align(label: str, text: str) -> str:
    return f"  {label:<{LABEL_WIDTH}} {text}"


def _conclude(found: Inferred) -> str:
    if found.is_documented and found.outcome is not Outcome.NOT_FOUND:
        return (
            f"{found.label} has the documented names and needs no adapter: "
            f"`rnnspec check {found.label}` checks it as it is."
        )
    if found.outcome is Outcome.NOT_FOUND:
        told = f"`rnnspec check {found.label} --adapt` checks the layer with the closest one, and "
        told = "" if found.unknown else f" {told}tells how it differs."
        return f"{found.label}: no adapter was found. {explain_rest(found)}.{told}"
    if found.outcome is Outcome.AMBIGUOUS:
        return f"{found.label}: ambiguous. {'; '.join(found.doubts)}."
    told = f"`rnnspec check {found.label} --adapt`"
    if found.deviations:
        return (
            f"{found.label}: an adapter was found, and with it the layer still differs from the "
            f"reference. {told} tells how."
        )
    return f"{found.label}: an adapter was found. {told} uses it."


def explain_rest(found: Inferred) -> str:
    """Return which parameters do not do what any part of the reference does."""
    if found.unknown and not found.by_name:
        return _explain_unknown(found)
    names = [*found.by_name, *found.unknown]
    many = "its parameters do" if not names else f"{', '.join(names)} do"
    verb = many if len(names) != 1 else f"{names[0]} does"
    text = f"{verb} not do what any part of the documented formula does"
    text += ", and what is left by name and shape was taken" if found.by_name else ""
    return ". ".join([text, *map(_tell_foreign, found.foreign)])


def _explain_unknown(found: Inferred) -> str:
    """Return what is said of a layer that has more parameters than the reference."""
    page = found.adapter.kind.page
    verb = "is" if len(found.unknown) == 1 else "are"
    text = f"{', '.join(found.unknown)} {verb} no part of the formula of {page}"
    if not found.deviations:
        it = "it" if len(found.unknown) == 1 else "them"
        text += f"; with {it} at zero, the layer is equal to the reference"
    return ". ".join([text, *map(_tell_foreign, found.foreign)])


def _tell_foreign(text: str) -> str:
    return f"{text}, of which the documented layer has none"
