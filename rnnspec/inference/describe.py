"""What the search for an adapter found, in words and as the source of a declaration."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path

from rnnspec.adapters.declaration import write_value
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.inference.infer import Inferred, Outcome
from rnnspec.text import make_printable

LABEL_WIDTH = 12


def describe_briefly(found: Inferred) -> str:
    """Return what a report says about an adapter that was found."""
    where = f"`rnnspec adapt {found.label}` shows it"
    if found.outcome is Outcome.NOT_FOUND:
        return f"the adapter is the closest that was found: {_explain(found)}; {where}"
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
    yield f"{found.label}   a layer like {page}   ({found.duration_s:.1f} s)"
    yield ""
    total = len(found.matched) + len(found.by_name) + len(found.unknown)
    yield _align("weights", f"{len(found.matched)} of {total} shown by what the layer computes")
    if found.by_name:
        yield _align("by name", ", ".join(found.by_name))
    if found.unknown:
        yield _align("unknown", ", ".join(found.unknown))
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
        return f"{found.label}: no adapter was found. {_explain(found)}."
    if found.outcome is Outcome.AMBIGUOUS:
        return f"{found.label}: ambiguous. {'; '.join(found.doubts)}."
    return f"{found.label}: an adapter was found. `rnnspec check {found.label} --adapt` uses it."


def _explain(found: Inferred) -> str:
    """Return which parameters do not do what any part of the reference does."""
    names = [*found.by_name, *found.unknown]
    many = "its parameters do" if not names else f"{', '.join(names)} do"
    verb = many if len(names) != 1 else f"{names[0]} does"
    text = f"{verb} not do what any part of the documented formula does"
    return f"{text}, and what is left by name and shape was taken" if found.by_name else text
