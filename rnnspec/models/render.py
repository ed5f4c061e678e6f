"""A read-out map as text for the terminal."""

from __future__ import annotations

from itertools import groupby

from rnnspec.models.advice import advise
from rnnspec.models.readout import ReadoutMap

MARKS = {(True, True): "#", (True, False): "#", (False, True): "?", (False, False): "."}
"""By (a change arrives, a NaN arrives): a NaN alone decides nothing."""


def format_readout_map(readout: ReadoutMap, *, advice: bool = True) -> str:
    """The map in ASCII, columns of one reach together in one row, then the samples if they mix, the parameters and the advice."""
    told = _advice(readout) if advice else []
    return "\n".join([*_matrix(readout), *_samples(readout), *_parameters(readout), *told]) + "\n"


def _matrix(readout: ReadoutMap) -> list[str]:
    title = "prediction at step" if readout.columns == "steps" else "feature"
    rows = [(_span(title, first, last), marks) for marks, first, last in _groups(readout)]
    own = "".join(MARKS[seen, False] for seen in readout.prediction)
    rows.append(("its own prediction", own))
    width = max(len("input position"), *(len(label) for label, _ in rows))
    head = " ".join(str(position % 10) for position in range(readout.positions))
    lines = [
        f"Read-out: {readout.source}, {len(readout.reach[0])} {readout.columns}",
        f"  {'input position':{width}}  {head}",
    ]
    return (
        lines + [f"  {label:{width}}  {' '.join(marks)}" for label, marks in rows] + _legend(rows)
    )


def _legend(rows: list[tuple[str, str]]) -> list[str]:
    undecided = any("?" in marks for _, marks in rows)
    return [
        "  # can change it   . cannot" + ("   ? only a NaN arrives: undecided" if undecided else "")
    ]


def _groups(readout: ReadoutMap) -> list[tuple[str, int, int]]:
    columns = [(_marks(readout, column), column) for column in range(len(readout.reach[0]))]
    groups = [
        (marks, [column for _, column in group])
        for marks, group in groupby(columns, key=lambda pair: pair[0])
    ]
    return [(marks, members[0], members[-1]) for marks, members in groups]


def _marks(readout: ReadoutMap, column: int) -> str:
    return "".join(
        MARKS[readout.reach[p][column], readout.nan[p][column]] for p in range(readout.positions)
    )


def _span(title: str, first: int, last: int) -> str:
    return f"{title} {first}" if first == last else f"{title}s {first}-{last}"


def _samples(readout: ReadoutMap) -> list[str]:
    if not readout.samples_mix:
        return ["Samples: each prediction depends on its own sample alone."]
    return ["Samples: which input (row) can change which prediction (column)"] + [
        f"  {index}  {' '.join(MARKS[seen, False] for seen in row)}"
        for index, row in enumerate(readout.samples)
    ]


def _parameters(readout: ReadoutMap) -> list[str]:
    groups = readout.parameters
    trained = len(groups.participating) + len(groups.idle) + len(groups.cut)
    lines = [f"Parameters: {len(groups.participating)} of {trained} take part."]
    lines += [f"  idle        {name}" for name in groups.idle]
    lines += [f"  no gradient {name}" for name in groups.cut]
    return lines + [f"Note: {note}" for note in readout.notes]


def _advice(readout: ReadoutMap) -> list[str]:
    lines: list[str] = []
    for advice in advise(readout):
        lines += [f"{advice.level}  {advice.rule}", f"  {advice.lost}", f"  try  {advice.remedy}"]
    return lines
