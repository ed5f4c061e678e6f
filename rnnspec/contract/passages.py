"""Split a docstring into named passages: the signature, each argument, each note, and so on."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

# Sections whose entries are separate passages, by the first word of the heading.
SECTIONS = {"Args": "args", "Attributes": "attributes", "Inputs": "inputs", "Outputs": "outputs"}
# Sections that are a single passage each.
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
# Notes have no heading. Name a note after a word that only its subject uses; number the others.
NOTES = {
    "initialized": "initial-values",
    "directions": "directions",
    "unbatched": "batch-first",
    "paper": "new-gate",
    "equivalent": "last-output",
    "smaller": "proj-size",
}

# Names that are numbered from the first passage on, because they do not identify a passage.
NUMBERED = ("notes", "text")

HEADING = re.compile(r"(\w+):{1,2}(?: .*)?")
DIRECTIVE = re.compile(r"\.\. ([\w-]+)::")
ENTRY = re.compile(r"(?:[*-] \*\*)?([\w\[\]]+)(?:\*\*)?(?: ?\(.*?\))?\s*:|(?:[*-] \*\*)(\w+)\*\*")
# Descriptions of places, by the first part of the name of a passage.
TITLES = {
    **{
        name: title
        for title, name in (SECTIONS | WHOLE).items()
        if title not in ("Example", "Note")
    },
    "signature": "signature",
    "summary": "first paragraph",
    "equation": "formula",
    "equation.where": "below the formula",
    "reference-loop": "code block",
    "text": "paragraph",
}

MARKUP = re.compile(r":[\w:]+:(?=`)|[`*\\]|^\s*[*-] ", re.MULTILINE)


def split_passages(docstring: str) -> dict[str, str]:
    """Return the normalised text of every passage by name, in order; number repeated names."""
    passages: dict[str, str] = {}
    for name, text in _name_passages(list(_split_blocks(inspect.cleandoc(docstring).splitlines()))):
        same_name = re.compile(re.escape(name) + r"(\.\d+)?")
        number = 1 + sum(1 for known in passages if same_name.fullmatch(known))
        passages[f"{name}.{number}" if number > 1 or name in NUMBERED else name] = text
    return passages


def describe_passage(passage: str) -> str:
    """Return a PAGE#PASSAGE in words, such as "nn.GRU: Args, bias"."""
    page, _, name = passage.partition("#")
    first, rest = (name, "") if name in TITLES else name.partition(".")[::2]
    title = TITLES.get(first, first)
    if first in ("notes", "includes"):
        return f"{page}: note on {re.sub('[-_]', ' ', rest)}"
    return (
        f"{page}: {title} {rest}"
        if first == "text"
        else ", ".join([f"{page}: {title}", *rest.split()])
    )


def normalise_text(text: str) -> str:
    """Return the text without markup and with single spaces."""
    return " ".join(MARKUP.sub("", text).split())


def _split_blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield paragraphs and sections: each unindented line with the indented lines after it."""
    block: list[str] = []
    for line in lines:
        if line and not line[0].isspace() and block and (not block[-1] or _is_block_start(line)):
            yield _strip_blank_lines(block)
            block = []
        if line or block:
            block.append(line.rstrip())
    if block:
        yield _strip_blank_lines(block)


def _is_block_start(line: str) -> bool:
    heading = HEADING.fullmatch(line)
    return bool(DIRECTIVE.match(line)) or bool(heading and heading[1] in SECTIONS | WHOLE)


def _strip_blank_lines(block: list[str]) -> list[str]:
    while block and not block[-1]:
        block = block[:-1]
    return block


def _name_passages(blocks: list[list[str]]) -> Iterator[tuple[str, str]]:
    before = ""
    for index, block in enumerate(blocks):
        section = _find_section(block[0])
        if section:
            yield from _split_entries(section, block)
        else:
            yield _name_block(block, index, before), normalise_text("\n".join(block))
        before = block[0]


def _find_section(line: str) -> str | None:
    heading = HEADING.fullmatch(line)
    return SECTIONS.get(heading[1]) if heading else None


def _name_block(block: list[str], index: int, before: str) -> str:
    """Return the name of a block that is one passage; a paragraph is named after its position."""
    line = block[0]
    directive, heading = DIRECTIVE.match(line), HEADING.fullmatch(line)
    if directive:
        return _name_directive(DIRECTIVES.get(directive[1], directive[1]), block)
    if heading and heading[1] in WHOLE:
        return _name_directive(WHOLE[heading[1]], block)
    if line.startswith("__init__("):
        return "signature"
    if before.startswith(".. math::"):
        return "equation.where"
    return "summary" if index == 0 or before.startswith("__init__(") else "text"


def _name_directive(name: str, block: list[str]) -> str:
    if name == "includes":
        return f"includes.{block[0].split('/')[-1].split('.')[0]}"
    if name == "notes":
        known = [NOTES[word] for word in re.findall(r"\w+", "\n".join(block)) if word in NOTES]
        return f"notes.{known[0]}" if known else "notes"
    return name


def _split_entries(section: str, block: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the section itself, as its heading and the names of its entries, then each entry."""
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
