"""The axes that the last lines of programs use."""

from __future__ import annotations

from rnnspec.cases.case import Case


def name_sample_axes(case: Case) -> dict[str, int]:
    """Return the axis of the samples in the input, as `axis`, and in the states, as `states`."""
    is_cell = case.config.kind_data.is_cell
    return {
        "axis": 0 if case.config.batch_first or is_cell else 1,
        "states": 0 if is_cell else 1,
    }
