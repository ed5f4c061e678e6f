"""How the conditions of rules read, alone and combined."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import DropoutLevel, DType, GradMode, Layout, MemoryLayout, Projection
from rnnspec.cases.conditions import (
    Condition,
    always,
    has_active_dropout,
    has_axis_value,
    has_dropout,
    has_size_at_least,
    has_value,
    is_batch_first,
    is_bidirectional,
    is_packed,
    is_stacked,
    one_in,
)
from rnnspec.suites.catalogue import list_all_rules


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (always, "always"),
        (~is_bidirectional, "one direction"),
        (~~is_bidirectional, "two directions"),
        (~is_stacked, "num_layers=1"),
        (~has_size_at_least("steps", 20), "steps < 20"),
        (has_dropout, "dropout > 0"),
        (~has_dropout, "dropout=0"),
        (~has_active_dropout, "no active dropout"),
        (has_value(DropoutLevel.ALL), "dropout=1"),
        (has_value(Projection.SOME), "proj_size > 0"),
        (has_value(GradMode.NO_GRAD), "torch.no_grad()"),
        (has_axis_value("bias", False), "bias=False"),
        (has_value(DType.FLOAT64, DType.FLOAT32), "dtype=float64 or float32"),
        (~has_value(DType.FLOAT64, DType.FLOAT32), "dtype=bfloat16 or float16"),
        (~has_value(MemoryLayout.EXPANDED), "memory_layout other than expanded"),
        (one_in(9), "one case in 9"),
        (
            one_in(9, with_gates=5, of_cells=2),
            "one case in 9 (one in 5 with gates, one in 2 for cells)",
        ),
        (~Condition("odd", lambda case: True), "not (odd)"),
    ],
)
def test_condition_describes_its_cases(condition: Condition[object], text: str) -> None:
    assert condition.text == text


def test_conditions_that_must_all_hold_are_listed_once() -> None:
    one, other = is_packed & is_stacked, is_stacked & ~is_batch_first
    assert (one & other).text == "packed input; num_layers >= 2; batch_first=False"
    assert (one & (is_batch_first | is_bidirectional)).text == (
        "packed input; num_layers >= 2; batch_first=True or two directions"
    )


def test_options_have_parentheses_only_if_they_have_several_parts() -> None:
    batched = has_value(Layout.BATCHED)
    assert (is_packed | batched | is_packed).text == "packed input or layout=batched"
    parts = is_stacked & (batched | is_packed)
    assert (parts | is_bidirectional).text == (
        "(num_layers >= 2 and (layout=batched or packed input)) or two directions"
    )


def test_every_rule_describes_in_words_when_it_applies() -> None:
    texts = {rule.id: rule.when.text for rule in list_all_rules()}
    assert texts["gates.order"] == (
        "layers with gates; at most 8 time steps; no random dropout; dtype=float64 or float32; "
        "distribution other than integer or ternary"
    )
    assert not [name for name, text in texts.items() if "not (" in text or "one of" in text]
