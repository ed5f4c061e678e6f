"""The clauses that define one step, which several rules test in different situations."""

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
"""The formula of every kind of layer, and of its cell."""
