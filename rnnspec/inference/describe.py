"""Describe the result of the search for an adapter, in words and as the source of a declaration."""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Iterator
from pathlib import Path

from rnnspec.adapters.declaration import CellDeclaration, write_value
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.inference.inferred import Inferred, SearchOutcome
from rnnspec.text import make_printable

LABEL_WIDTH = 12
FILE = "adapters.py"
"""The file name that messages suggest for a declaration."""


def describe_briefly(found: Inferred) -> str:
    """Return the line of a report about an adapter that was found."""
    where = f"`rnnspec adapt {found.label}` shows it"
    if found.outcome is SearchOutcome.NOT_FOUND:
        return f"the adapter is the closest that was found: {explain_rest(found)}; {where}"
    total = len(found.matched)
    doubts = f", but {'; '.join(found.doubts)}" if found.doubts else ""
    return f"an adapter was found for all {total} parameters{doubts}; {where}"


def format_found(found: Inferred, path: str | None = None) -> str:
    """Return the whole result, with the declaration and with the outcome in the last line.

    `path` is the file to which the declaration is written, if any.
    """
    # Names come from the user's code and may contain control characters of terminals.
    return make_printable("\n".join(_list_lines(found, path)), keep="\n")


def write_source(found: Inferred, folder: str = ".") -> str:
    """Return the source of a file that declares the adapter under the name of the layer.

    `folder` is the folder of the new file; it contains the path to the file of the layer relative
    to that folder.
    """
    place, _, attribute = found.label.rpartition(":")
    target = found.label
    if place.endswith(".py") and not Path(place).is_absolute():
        target = f"{Path(os.path.relpath(place, folder)).as_posix()}:{attribute}"
    call = found.declaration.write_call(write_value(target))
    head = f'"""How rnnspec builds and calls {found.label}, found by `rnnspec adapt`."""'
    return f"{head}\n\nimport rnnspec.adapt as adapt\n\n{_name(found)} = {call}\n"


def _list_lines(found: Inferred, path: str | None) -> Iterator[str]:
    declaration, page = found.declaration, LAYER_KINDS[found.declaration.kind].page
    what = "a step of a layer" if isinstance(declaration, CellDeclaration) else "a layer"
    yield f"{found.label}   {what} like {page}   ({found.duration_s:.1f} s)"
    yield ""
    yield from _list_weights(found)
    yield _align("call", f"({declaration.call}) returns ({declaration.returns})")
    for doubt in found.doubts:
        yield _align("doubt", doubt)
    if not found.deviations:
        yield _align("compared", "equal to the reference, exactly if no sum rounds")
    for what, text in found.deviations.items():
        yield _align("differs", f"{what}: {text}")
    if found.is_documented and found.outcome is not SearchOutcome.NOT_FOUND:
        yield from ("", _conclude(found, path))
        return
    lacking = [feature.text for feature in found.adapter.unsupported if feature.text not in HIDDEN]
    if lacking:
        yield _align("lacks", ", ".join(lacking))
    yield ""
    yield write_source(found, "." if path is None else str(Path(path).parent))
    yield _conclude(found, path)


def _list_weights(found: Inferred) -> Iterator[str]:
    """Yield the lines about the parameters and the formula."""
    total = sum(map(len, (found.matched, found.by_name, found.unknown, found.unused)))
    yield _align("weights", f"{len(found.matched)} of {total} identified by their effect")
    if found.by_name:
        yield _align("by name", ", ".join(found.by_name))
    if found.unknown:
        yield _align("extra", ", ".join(found.unknown))
    if found.unused:
        yield _align("unused", f"{', '.join(found.unused)} (they change nothing)")
    if found.variant:
        yield _align("variant", f"it {found.variant}")
    for gate, number in found.added.items():
        back = "its bias is declared without that"
        back = "it has no bias that could take that back" if found.is_unbiased else back
        yield _align("adds", f"{number:g} to the sum of the {gate} gate; {back}")


HIDDEN = ("drop-in", "pickle", "state-checks")
"""Features that every adapted layer lacks."""


def _align(label: str, text: str) -> str:
    return f"  {label:<{LABEL_WIDTH}} {text}"


def _conclude(found: Inferred, path: str | None) -> str:
    """Return the outcome and the command that checks the layer."""
    label = found.label
    written = f" The declaration was written to {path}." if path else ""
    if found.is_documented and found.outcome is not SearchOutcome.NOT_FOUND:
        text = f"{label} has the documented names and needs no adapter: `rnnspec check {label}`"
        return f"{text} checks it as it is.{written}"
    if found.outcome is SearchOutcome.AMBIGUOUS:
        return f"{label}: ambiguous. {'; '.join(found.doubts)}.{written}"
    check = f"`rnnspec check {path or FILE}:{_name(found)}`"
    next_step = f"{written} {check}" if path else f" {_advise_writing(found)}, and {check}"
    if found.outcome is SearchOutcome.NOT_FOUND:
        text = f"{label}: no adapter was found. {explain_rest(found)}."
        if found.unknown:
            return f"{text}{written}"
        return f"{text}{next_step} checks the layer with the closest one, to see how it differs."
    if found.deviations:
        text = "an adapter was found, and with it the layer still differs from the reference."
        return f"{label}: {text}{next_step} shows how."
    return f"{label}: an adapter was found.{next_step} uses it."


def _advise_writing(found: Inferred) -> str:
    """Return the command that writes the declaration to a file."""
    extra = found.declaration.extra.items()
    given = "".join(f" --arg {shlex.quote(f'{name}={value}')}" for name, value in extra)
    return f"`rnnspec adapt {found.label}{given} --write {FILE}` keeps the declaration in a file"


def _name(found: Inferred) -> str:
    """Return the name of the adapter in a file, which is the name of the layer."""
    return found.label.rpartition(":")[2].split(".")[-1]


def explain_rest(found: Inferred) -> str:
    """Return which parameters match no part of the reference."""
    if found.variant:
        return f"It {found.variant}, so that no weights make it equal to {found.adapter.kind.page}"
    if found.unknown and not found.by_name:
        return _explain_unknown(found)
    names = [*found.by_name, *found.unknown]
    many = "its parameters do" if not names else f"{', '.join(names)} do"
    verb = many if len(names) != 1 else f"{names[0]} does"
    text = f"{verb} not do what any part of the documented formula does"
    text += ", so its name and shape decided" if found.by_name else ""
    return ". ".join([text, *map(_describe_foreign, found.foreign)])


def _explain_unknown(found: Inferred) -> str:
    """Return a sentence about parameters of the layer that the reference does not have."""
    page = found.adapter.kind.page
    verb = "is" if len(found.unknown) == 1 else "are"
    text = f"{', '.join(found.unknown)} {verb} no part of the formula of {page}"
    if not found.deviations:
        it = "it" if len(found.unknown) == 1 else "them"
        text += f"; with {it} at zero, the layer is equal to the reference"
    return ". ".join([text, *map(_describe_foreign, found.foreign)])


def _describe_foreign(text: str) -> str:
    return f"{text}, of which the documented layer has none"
