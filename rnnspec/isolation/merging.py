"""Merge the files of the shards of one run."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnspec.errors import SelectionError
from rnnspec.isolation.journal import (
    Recorded,
    describe_difference,
    read_file,
    read_precautions,
    read_versions,
)
from rnnspec.isolation.messages import OTHER_CASES, WHY_OTHER_CASES, CheckedCase, Precautions
from rnnspec.isolation.ranges import Share, parse_share
from rnnspec.isolation.sources import Sources, find_change
from rnnspec.options import CheckOptions
from rnnspec.text import join_words

OWN = ("shard", "drawn", "sources")
"""Header fields that may differ between shards, or have a comparison of their own."""
MOST_LISTED = 8
"""Number of missing shards that are listed by name."""


@dataclass(frozen=True)
class Merged:
    """The results of several shards.

    target       the target of the run
    imports      the modules to import first
    size         the number of all cases
    drawn        identifies the cases, see `Ready`
    sources      the source files of the target, if a file lists them
    results      the results of cases, by index
    precautions  the steps that ended workers, from the footers
    notes        lines for the report: the notes of the shards, and a list of missing cases
    stop_reason  why cases are missing, in short, or an empty string
    """

    target: str
    imports: tuple[str, ...]
    options: CheckOptions
    size: int
    drawn: str
    sources: Sources
    results: Mapping[int, CheckedCase]
    precautions: tuple[Precautions, ...]
    notes: tuple[str, ...]
    stop_reason: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all cases were checked."""
        return len(self.results) == self.size


def merge_files(paths: Sequence[Path]) -> Merged:
    """Merge the results of the shards in these files, which may be in any order.

    Raises SelectionError if a file was not written by `--stream`, is about another run than the
    first, or was written by other versions than those installed here, or if two files are the same
    shard.
    """
    files = [read_file(path) for path in paths]
    first = files[0]
    for other in files[1:]:
        _require_same_run(other, first)
    _require_same_sources(files)
    _require_versions(first)
    shares = {_read_share(each): each for each in reversed(files)}
    if len(shares) < len(files):
        _refuse_duplicates(files)
    ordered = [shares[share] for share in sorted(shares, key=lambda each: each.number)]
    results = {index: each for found in ordered for index, each in found.results.items()}
    footers = [found.footer for found in ordered if found.footer is not None]
    return Merged(
        first.header["target"],
        tuple(first.header["imports"]),
        _read_options(first),
        first.size,
        str(first.header["drawn"]),
        next((each.sources for each in files if each.sources), {}),
        results,
        tuple(map(read_precautions, footers)),
        (*_merge_notes(shares), *_describe_missing(shares, first.size)),
        _name_missing(shares, first.size),
    )


def _require_same_run(other: Recorded, first: Recorded) -> None:
    """Raise SelectionError if two files are about different runs, or use different shards."""
    one, two = _read_share(other), _read_share(first)
    if one.count != two.count:
        raise SelectionError(f"{other.path} is shard {one}, and {first.path} is shard {two}.")
    expected = {name: first.header[name] for name in first.header if name not in OWN}
    difference = describe_difference(other.header, expected)
    if difference:
        raise SelectionError(
            f"{other.path}: it is about another run than {first.path}: {difference}."
        )
    if other.header.get("drawn") != first.header.get("drawn"):
        raise SelectionError(
            f"{other.path}: {OTHER_CASES} than for {first.path}. {WHY_OTHER_CASES}"
        )


def _require_same_sources(files: Sequence[Recorded]) -> None:
    """Raise SelectionError if the target was changed between two shards."""
    first, *others = [each for each in files if each.sources] or [files[0]]
    for other in others:
        changed = find_change(first.sources, other.sources, is_same_machine=False)
        if changed:
            raise SelectionError(
                f"{other.path}: {changed} was not the same for it as for {first.path}; "
                "check all shards of the same version."
            )


def _require_versions(found: Recorded) -> None:
    """Raise SelectionError if a file was written by other versions than the installed versions."""
    difference = describe_difference(found.header["versions"], read_versions())
    if difference:
        raise SelectionError(
            f"{found.path}: it was written with other versions than those here: {difference}."
        )


def _read_share(found: Recorded) -> Share:
    return parse_share(str(found.header["shard"]))


def _refuse_duplicates(files: Sequence[Recorded]) -> None:
    """Raise SelectionError about the first shard found in two files, or file given twice."""
    seen: dict[Share, Recorded] = {}
    for each in files:
        share = _read_share(each)
        if share in seen and seen[share].path.resolve() == each.path.resolve():
            raise SelectionError(f"{each.path} is given twice.")
        if share in seen:
            raise SelectionError(f"{seen[share].path} and {each.path} are both shard {share}.")
        seen[share] = each


def _read_options(found: Recorded) -> CheckOptions:
    """Return the options of a run. Raises SelectionError if they cannot be read."""
    given = dict(found.header["options"])
    try:
        arguments = {key: ast.literal_eval(each) for key, each in given["arguments"].items()}
        return CheckOptions(**{**given, "arguments": arguments})
    except (ValueError, SyntaxError, TypeError, LookupError) as error:
        raise SelectionError(f"{found.path}: its options cannot be read ({error}).") from error


def _merge_notes(shares: Mapping[Share, Recorded]) -> Iterator[str]:
    """Yield the notes of the shards; a note that is not common to all names its shard."""
    notes = {
        share: dict.fromkeys((found.footer or {}).get("notes", ()))
        for share, found in sorted(shares.items(), key=lambda each: each[0].number)
    }
    counts = Counter(note for each in notes.values() for note in each)
    yield from (note for note, count in counts.items() if count == len(shares))
    for share, each in notes.items():
        yield from (f"shard {share}: {note}" for note in each if counts[note] < len(shares))


def _describe_missing(shares: Mapping[Share, Recorded], size: int) -> Iterator[str]:
    """Yield a line for each shard that is missing, or ended before all cases were checked."""
    missing = _list_missing(shares)
    if missing:
        checked = sum(len(found.results) for found in shares.values())
        yield f"{_name_shards(missing)} missing: the report covers {checked} of {size} cases"
    for share, found in shares.items():
        wanted = share.select(size)
        left = sum(index not in found.results for index in wanted)
        if left:
            yield _describe_left(share, found, left, len(wanted))


def _list_missing(shares: Mapping[Share, Recorded]) -> list[str]:
    count = next(iter(shares)).count
    every = [Share(number, count) for number in range(1, count + 1)]
    return [str(share) for share in every if share not in shares]


def _name_missing(shares: Mapping[Share, Recorded], size: int) -> str:
    """Return which shards are missing or incomplete, or an empty string if the run is complete."""
    missing = _list_missing(shares)
    left = [
        str(share)
        for share, found in shares.items()
        if any(index not in found.results for index in share.select(size))
    ]
    parts = [f"{_name_shards(missing)} missing"] if missing else []
    if left and next(iter(shares)).is_whole:
        parts.append("the run in this file was ended early")
    elif left:
        parts.append(f"{_name_shards(left)} incomplete")
    return " and ".join(parts)


def _describe_left(share: Share, found: Recorded, left: int, wanted: int) -> str:
    """Return which cases a file lacks, and why: it is damaged, or the run ended early."""
    reason, is_one = _describe_damage(found), left == 1
    which = f"{left} of the {wanted} cases{'' if share.is_whole else f' of shard {share}'}"
    option = "" if share.is_whole else f"--shard {share} and "
    remedy = f"'rnnspec check' with {option}--resume {found.path} checks"
    if not reason:
        what = "it" if is_one else "them"
        return f"{which} {'was' if is_one else 'were'} not checked; {remedy} {what}"
    missing = f"{which} {'is' if is_one else 'are'} missing"
    return f"{reason}: {missing}; {remedy} the missing cases"


def _describe_damage(found: Recorded) -> str:
    """Describe the damage of a file, or return an empty string."""
    if found.is_cut:
        return f"{found.path} is cut off at its end"
    if found.damaged:
        lines = found.damaged[:MOST_LISTED]
        lines_are = f"lines {join_words(lines)} are" if len(lines) > 1 else f"line {lines[0]} is"
        return f"{found.path}, {lines_are} damaged"
    if found.footer is None:
        return f"{found.path} has no last line, because its run was killed or it was cut off"
    is_whole = len(found.results) >= int(found.footer["checked"])
    return "" if is_whole else f"{found.path} lacks lines that its run has written"


def _name_shards(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"shard {names[0]} is"
    shown = ", ".join(names[:MOST_LISTED])
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return f"shards {shown}{more} are"
