"""The clauses that define a step, which several rules test in different situations."""

from __future__ import annotations

STEP_FORMULAS = (
    "rnn.recurrence.tanh",
    "rnn.recurrence.relu",
    "gru.recurrence.reset-gate",
    "gru.recurrence.update-gate",
    "gru.recurrence.new-gate",
    "gru.recurrence.state",
    "lstm.recurrence.input-gate",
    "lstm.recurrence.forget-gate",
    "lstm.recurrence.cell-gate",
    "lstm.recurrence.output-gate",
    "lstm.recurrence.cell-state",
    "lstm.recurrence.hidden-state",
)
"""The formulas of all kinds of layers and their cells."""
