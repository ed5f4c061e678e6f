"""The output of a shard: which of its cases fail. The verdict is left to the merged run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rnnspec._version import __version__
from rnnspec.cli.parts import print_text
from rnnspec.errors import SelectionError
from rnnspec.isolation.messages import CheckedCase
from rnnspec.isolation.ranges import Share, parse_share
from rnnspec.isolation.supervisor import CheckedShard
from rnnspec.options import CheckOptions
from rnnspec.report.data import RunVerdict
from rnnspec.text import count_cases, make_printable

MOST_RULES = 10


def choose_share(
    text: str | None,
    options: CheckOptions,
    path: str | None,
    files: Mapping[str, str | None],
) -> Share | None:
    """Return the shard that the user chose, or None. Raises SelectionError.

    The error is raised if the shard has no `path` for its results, if there are `files` for a
    report (by the names of their options), or if other options are incompatible.
    """
    if text is None:
        return None
    share = parse_share(text)
    if options.fail_fast:
        raise SelectionError(
            f"cannot be used with --shard {text}: the run would end at its first violation, "
            "which no shard knows.",
            "fail_fast",
        )
    if given := [name for name, each in files.items() if each is not None]:
        raise SelectionError(
            f"{text}: a shard has no report; give --{given[0]} to rnnspec merge.", "shard"
        )
    if path is None:
        raise SelectionError(
            f"{text}: name a file for the results, e.g. --stream shard-{share.number}.jsonl.",
            "shard",
        )
    return share


def show_shard(
    target: str, options: CheckOptions, share: Share, shard: CheckedShard, path: str
) -> int:
    """Print the findings of a shard, and return the exit status of its command.

    The status is 0 if the shard checked all its cases, whether or not rules fail.
    """
    lines = _list_lines(target, options, share, shard, path)
    print_text("\n".join(map(make_printable, lines)))
    return RunVerdict.INCONCLUSIVE.exit_status if shard.is_stopped else 0


def _list_lines(
    target: str, options: CheckOptions, share: Share, shard: CheckedShard, path: str
) -> Iterator[str]:
    checked, wanted = shard.results.checked, len(shard.results.wanted)
    yield (
        f"rnnspec {__version__}   {target}, shard {share}   seed {options.seed}, "
        f"{options.profile} profile ({shard.duration_s:.1f} s, {count_cases(len(checked))})"
    )
    yield ""
    failing = {index: checked[index] for index in sorted(checked) if checked[index].failed}
    if failing:
        yield from _list_failing(failing)
        yield ""
    yield from (f"note  {note}" for note in shard.notes)
    counted = count_cases(wanted)
    counted = f"{len(checked)} of its {counted}" if len(checked) < wanted else counted
    fail = f"{len(failing)} {'fails' if len(failing) == 1 else 'fail'}" if failing else "none fails"
    files = "merge it" if share.is_whole else f"merge the files of all {share.count} shards"
    first = "for the verdict"
    if shard.is_stopped:
        option = f"--shard {share} --resume {path}"
        first = f"go on with {option}, and then, for the verdict"
    yield (
        f"Shard {share} of {target}: {counted} checked, {fail}. The results are in {path}; "
        f"{first}, {files} with 'rnnspec merge'."
    )


def _list_failing(failing: Mapping[int, CheckedCase]) -> Iterator[str]:
    """Yield two lines for each rule that fails; the second is its message on the first case."""
    first: dict[str, int] = {}
    counts: dict[str, int] = {}
    for index, checked in failing.items():
        for rule in checked.failed:
            first.setdefault(rule, index)
            counts[rule] = counts.get(rule, 0) + 1
    for rule in sorted(counts, key=lambda each: (-counts[each], each))[:MOST_RULES]:
        yield f"fails  {rule}: {count_cases(counts[rule])}, the first is case {first[rule]}"
        yield f"       {failing[first[rule]].failed[rule]}"
    if len(counts) > MOST_RULES:
        yield f"fails  {len(counts) - MOST_RULES} more rules"
