"""Format a read-out map as text for the terminal."""

from __future__ import annotations

from itertools import groupby

from rnnspec.readout.advice import list_advice
from rnnspec.readout.map import Columns, ReadoutMap

MARKS = {(True, True): "#", (True, False): "#", (False, True): "?", (False, False): "."}
"""The mark for (a change arrives, a NaN arrives). A NaN alone proves nothing."""

TextRow = tuple[str, str]
"""A label, and a mark for each position."""


def format_readout_map(readout: ReadoutMap, *, advice: bool = True, call: str = "") -> str:
    """Return the map in ASCII, then the samples, the parameters, the notes and the advice.

    Columns that the same positions reach share a row. Samples are shown as a matrix if they mix.
    `call` is the expression of the prediction, which distinguishes several maps of a model.
    """
    lines = [
        *_format_matrix(readout, f"Read-out of {call}" if call else "Read-out"),
        *_format_samples(readout),
        *describe_parameters(readout),
        *(_format_advice(readout) if advice else []),
    ]
    return "\n".join(lines) + "\n"


def list_rows(readout: ReadoutMap) -> list[TextRow]:
    """Return the rows of a map: features or steps, with equal rows merged, then the prediction."""
    title = "prediction at step" if readout.columns is Columns.STEPS else "feature"
    return [
        *((_format_span(title, *span), marks) for marks, *span in _group_columns(readout)),
        ("its own prediction", "".join(MARKS[reached, False] for reached in readout.prediction)),
    ]


def list_samples(readout: ReadoutMap) -> list[TextRow]:
    """Return a row for each sample: the samples whose prediction its input can change."""
    return [
        (str(index), "".join(MARKS[reached, False] for reached in row))
        for index, row in enumerate(readout.samples)
    ]


def describe_source(readout: ReadoutMap) -> str:
    """Return the source and the number of the features of a map."""
    return f"{readout.source}, {len(readout.reach[0])} {readout.columns}"


def _format_matrix(readout: ReadoutMap, name: str) -> list[str]:
    rows = list_rows(readout)
    width = max(len("input position"), *(len(label) for label, _ in rows))
    head = " ".join(str(position % 10) for position in range(readout.positions))
    return [
        f"{name}: {describe_source(readout)}",
        f"  {'input position':{width}}  {head}",
        *(f"  {label:{width}}  {' '.join(marks)}" for label, marks in rows),
        _format_legend(rows),
    ]


def _format_legend(rows: list[TextRow]) -> str:
    is_undecided = any("?" in marks for _, marks in rows)
    undecided = "   ? only a NaN arrives: undecided" if is_undecided else ""
    return f"  # can change it   . cannot{undecided}"


def _group_columns(readout: ReadoutMap) -> list[tuple[str, int, int]]:
    """Return the marks, the first and the last column of each group of equal neighbours."""
    columns = [(_mark_column(readout, column), column) for column in range(len(readout.reach[0]))]
    groups = [
        (marks, [column for _, column in group])
        for marks, group in groupby(columns, key=lambda pair: pair[0])
    ]
    return [(marks, members[0], members[-1]) for marks, members in groups]


def _mark_column(readout: ReadoutMap, column: int) -> str:
    return "".join(
        MARKS[readout.reach[position][column], readout.nan[position][column]]
        for position in range(readout.positions)
    )


def _format_span(title: str, first: int, last: int) -> str:
    return f"{title} {first}" if first == last else f"{title}s {first}-{last}"


def _format_samples(readout: ReadoutMap) -> list[str]:
    if not readout.samples_mix:
        return ["Samples: each prediction depends only on its own sample."]
    return ["Samples: which input (row) can change which prediction (column)"] + [
        f"  {index}  {' '.join(marks)}" for index, marks in list_samples(readout)
    ]


def describe_parameters(readout: ReadoutMap) -> list[str]:
    """Return lines about the parameters of a model, and the notes."""
    groups = readout.parameters
    trained = len(groups.participating) + len(groups.idle) + len(groups.cut)
    elsewhere = len(groups.elsewhere)
    others = f"; {elsewhere} more take part in something else that is returned" if elsewhere else ""
    return [
        f"Parameters: {len(groups.participating)} of {trained} take part{others}.",
        *(f"  idle        {name}" for name in groups.idle),
        *(f"  no gradient {name}" for name in groups.cut),
        *(f"Note: {note}" for note in readout.notes),
    ]


def _format_advice(readout: ReadoutMap) -> list[str]:
    lines: list[str] = []
    for advice in list_advice(readout):
        lines += [
            f"{advice.level}  {advice.rule}",
            f"  {advice.text}",
            f"  try  {advice.remedy}",
        ]
    return lines
