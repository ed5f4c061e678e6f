"""A docstring cut into named passages: the signature, each argument, each input and output, each note, and so on."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

# A section whose entries are passages of their own, by the first word of its heading.
SECTIONS = {"Args": "args", "Attributes": "attributes", "Inputs": "inputs", "Outputs": "outputs"}
# A section that is one passage.
WHOLE = {
    "Returns": "returns",
    "Example": "examples",
    "Examples": "examples",
    "Shape": "shape",
    "Note": "notes",
}
DIRECTIVES = {
    "math": "equation",
    "code-block": "reference-loop",
    "note": "notes",
    "warning": "notes",
    "include": "includes",
}
# Notes have no heading: these are known by a word that their subject cannot do without, the others are numbered.
NOTES = {"initialized": "initial-values", "directions": "directions", "unbatched": "batch-first"}

# Passages without a name of their own are numbered from the first on.
NUMBERED = ("notes", "text")

HEADING = re.compile(r"(\w+):{1,2}(?: .*)?")
DIRECTIVE = re.compile(r"\.\. ([\w-]+)::")
ENTRY = re.compile(r"(?:[*-] \*\*)?([\w\[\]]+)(?:\*\*)?(?: ?\(.*?\))?\s*:|(?:[*-] \*\*)(\w+)\*\*")
MARKUP = re.compile(r":[\w:]+:(?=`)|[`*\\]|^\s*[*-] ", re.MULTILINE)


def split_passages(docstring: str) -> dict[str, str]:
    """The normalised text of every passage of a docstring, by name, in order; a repeated name is numbered."""
    found: dict[str, str] = {}
    for name, text in _named(list(_blocks(inspect.cleandoc(docstring).splitlines()))):
        number = 1 + sum(1 for known in found if re.fullmatch(re.escape(name) + r"(\.\d+)?", known))
        found[f"{name}.{number}" if number > 1 or name in NUMBERED else name] = text
    return found


def normalise_text(text: str) -> str:
    """The text without markup, with single spaces."""
    return " ".join(MARKUP.sub("", text).split())


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Paragraphs and sections: what begins without indentation, with the indented lines that follow."""
    block: list[str] = []
    for line in lines:
        if line and not line[0].isspace() and block and (not block[-1] or _opens(line)):
            yield _trimmed(block)
            block = []
        if line or block:
            block.append(line.rstrip())
    if block:
        yield _trimmed(block)


def _opens(line: str) -> bool:
    heading = HEADING.fullmatch(line)
    return bool(DIRECTIVE.match(line)) or bool(heading and heading[1] in SECTIONS | WHOLE)


def _trimmed(block: list[str]) -> list[str]:
    while block and not block[-1]:
        block = block[:-1]
    return block


def _named(blocks: list[list[str]]) -> Iterator[tuple[str, str]]:
    before = ""
    for index, block in enumerate(blocks):
        section = _section(block[0])
        if section:
            yield from _entries(section, block)
        else:
            yield _name(block, index, before), normalise_text("\n".join(block))
        before = block[0]


def _section(line: str) -> str | None:
    heading = HEADING.fullmatch(line)
    return SECTIONS.get(heading[1]) if heading else None


def _name(block: list[str], index: int, before: str) -> str:
    """The name of a block that is one passage; of a paragraph, by where it stands."""
    line = block[0]
    directive, heading = DIRECTIVE.match(line), HEADING.fullmatch(line)
    if directive:
        return _directive_name(DIRECTIVES.get(directive[1], directive[1]), block)
    if heading and heading[1] in WHOLE:
        return _directive_name(WHOLE[heading[1]], block)
    if line.startswith("__init__("):
        return "signature"
    if before.startswith(".. math::"):
        return "equation.where"
    return "summary" if index == 0 or before.startswith("__init__(") else "text"


def _directive_name(name: str, block: list[str]) -> str:
    if name == "includes":
        return f"includes.{block[0].split('/')[-1].split('.')[0]}"
    if name == "notes":
        known = [NOTES[word] for word in re.findall(r"\w+", "\n".join(block)) if word in NOTES]
        return f"notes.{known[0]}" if known else "notes"
    return name


def _entries(section: str, block: list[str]) -> Iterator[tuple[str, str]]:
    """The entries of a section, and first the section itself: its heading with the names of its entries."""
    body = inspect.cleandoc("\n" + "\n".join(block[1:])).splitlines()
    entries: dict[str, list[str]] = {}
    for line in body:
        match = ENTRY.match(line)
        if match:
            entries[match[1] or match[2]] = []
        if entries:
            entries[list(entries)[-1]].append(line)
    yield section, normalise_text(" ".join([block[0], *entries]))
    yield from (
        (f"{section}.{name}", normalise_text("\n".join(lines))) for name, lines in entries.items()
    )
