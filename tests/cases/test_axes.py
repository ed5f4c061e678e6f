"""Axes: every value has all its parts, and nothing else can be the value of a field of a case."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Hashable
from itertools import combinations
from typing import Any

import pytest

from rnnspec.cases.axes import (
    AXES,
    AXIS,
    HISTORY_USES,
    PRIOR_USES,
    Axis,
    Choice,
    ConstructorStyle,
    EarlierCalls,
    Feature,
    Layout,
    MemoryLayout,
    ModuleUses,
    PriorUse,
    parse_value,
)
from rnnspec.cases.axes.prior_use.base import PROGRAM_WORDS
from rnnspec.cases.case import CHOICES, CONFIG_AXES, IN_PART, Case
from rnnspec.cases.drawing import draw_cases
from rnnspec.cases.plan import PROFILES, Scope, plan_rows
from rnnspec.contract.config import Config

PLAIN = Case(config=Config(2, 3), steps=3, batch=2)
EVERY_VALUE = [(axis, value) for axis in AXES for value in axis.values]


def name_value(part: Any) -> str:
    return part.name if isinstance(part, Axis) else str(part)


@pytest.fixture(scope="module")
def quick_cases() -> list[Case]:
    return [case for _, case in draw_cases(plan_rows(PROFILES["quick"], 0, Scope()), 0)]


@pytest.mark.parametrize("axis", AXES, ids=name_value)
def test_texts_are_unique_on_an_axis(axis: Axis) -> None:
    texts = [str(value) for value in axis.values]
    assert axis.meaning
    assert len(set(axis.values)) == len(axis.values)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(("axis", "value"), EVERY_VALUE, ids=name_value)
def test_every_value_is_parsed_from_itself_and_from_its_text(axis: Axis, value: Hashable) -> None:
    assert parse_value(axis.name, value) == value
    assert parse_value(axis.name, str(value)) == value
    if isinstance(value, Choice):
        assert value.text == str(value)
        assert type(value).parse(value.text) is value


@pytest.mark.parametrize(("axis", "value"), EVERY_VALUE, ids=name_value)
def test_every_value_has_a_meaning_and_perhaps_needs_a_feature(axis: Axis, value: Hashable) -> None:
    assert axis.describe_value(value)
    assert axis.needed_feature(value) in (None, *Feature)
    if isinstance(value, Choice):
        assert value.meaning


def test_only_the_simplest_values_need_no_feature_on_axes_of_plain_values() -> None:
    for name in ("num_layers", "bidirectional", "batch_first", "bias", "nonlinearity"):
        axis = AXIS[name]
        assert axis.needed_feature(axis.simplest) is None
        assert all(axis.needed_feature(value) for value in axis.values[1:])


@pytest.mark.parametrize("kind", ["lstm", "rnn-cell"])
def test_quick_has_each_use_right_before_others_and_right_before_the_call(kind: str) -> None:
    rows = [each.row for each in plan_rows(PROFILES["quick"], 0, Scope(kind=kind))]
    histories = [(*row.get("history", ()), row["prior_use"]) for row in rows]
    followed = Counter(use for each in histories for use in each[:-1])
    happened = ([use for use in each if use is not EarlierCalls.FRESH] for each in histories)
    last = {each[-1] for each in happened if each}
    assert all(followed[use] >= 5 for use in HISTORY_USES)
    assert last >= set(HISTORY_USES)
    pairs = {pair for each in histories for pair in combinations(each, 2)}
    assert len(pairs) > 0.7 * len(HISTORY_USES) * len(PRIOR_USES)


def test_a_pinned_prior_use_has_no_history_and_a_lacking_feature_is_in_none() -> None:
    pinned = Scope(pinned=(("prior_use", EarlierCalls.FRESH),))
    assert not any(each.row.get("history") for each in plan_rows(PROFILES["quick"], 0, pinned))
    lacking = Scope(frozenset({Feature.PICKLE}))
    rows = plan_rows(PROFILES["quick"], 0, lacking)
    used = {use for each in rows for use in each.row.get("history", ())}
    assert used == set(HISTORY_USES) - {ModuleUses.PICKLED}


def test_every_feature_has_a_unique_text_and_a_meaning() -> None:
    assert len({feature.text for feature in Feature}) == len(Feature)
    for feature in Feature:
        assert feature.meaning
        assert Feature.parse(feature.text) is feature


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("prior_use", dict.fromkeys((*PRIOR_USES, *HISTORY_USES)), ids=str)
def test_every_prior_use_has_the_lines_of_a_program(prior_use: PriorUse, seed: int) -> None:
    words = {name: f"<{name}>" for name in PROGRAM_WORDS}
    case = PLAIN.replace(seed=seed)
    lines = prior_use.write_lines(case, words, lambda other: f"layer({other.steps})")
    text = "\n".join(lines)
    assert lines
    assert all(lines)
    is_loaded = "<weights>" in text or "<entries>" in text
    assert is_loaded, "the weights of the case are loaded"
    assert prior_use.replaces == ("<place>" in text or "<other_place>" in text)
    for name in PROGRAM_WORDS:
        text = text.replace(f"<{name}>", name)
    compile(text, prior_use.text, "exec")


@pytest.mark.parametrize("memory_layout", MemoryLayout, ids=str)
def test_every_memory_layout_but_the_plain_one_has_a_line_of_a_program(
    memory_layout: MemoryLayout,
) -> None:
    lines = memory_layout.write_lines("x", 3, 1)
    assert bool(lines) == (memory_layout is not MemoryLayout.CONTIGUOUS)
    for line in lines:
        assert line.startswith("x = ")
        compile(line, memory_layout.text, "exec")


@pytest.mark.parametrize("style", ConstructorStyle, ids=str)
def test_every_constructor_style_has_the_call_of_a_program(style: ConstructorStyle) -> None:
    call = style.write_call("Layer", "torch.float32")
    assert call.startswith("Layer(")
    assert "config" in call
    assert ("dtype=torch.float32" in call) == style.places
    compile(call, style.text, "eval")


def test_axes_are_fields_of_the_case_or_of_its_configuration() -> None:
    assert {axis.name for axis in AXES} == {*CHOICES, *CONFIG_AXES, *IN_PART}
    assert set(CHOICES) <= set(vars(PLAIN))
    assert {*CONFIG_AXES, *IN_PART} <= set(vars(PLAIN.config))


def list_wrong_values() -> list[tuple[str, Any]]:
    return [
        (name, value)
        for name in CHOICES
        for value in (AXIS[name].simplest.text, "unknown", None, Feature.PACKED)
    ]


@pytest.mark.parametrize(("name", "value"), list_wrong_values(), ids=str)
def test_a_case_refuses_a_value_outside_its_axis(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be one of ") as raised:
        Case(config=Config(2, 3), **{name: value})
    assert repr(value) in str(raised.value)
    with pytest.raises(ValueError, match=f"^{name} must be one of "):
        PLAIN.replace(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layout", "padded", "layout 'padded' is none of batched, unbatched, packed"),
        ("layout", "paked", "Did you mean 'packed'?"),
        ("layout", Layout, "is none of batched, unbatched, packed"),
        ("num_layers", 7, "num_layers 7 is none of 1, 2, 3, 4, 5, 11."),
        ("layot", "packed", "Did you mean 'layout'?"),
    ],
)
def test_unknown_axes_and_values_are_not_parsed(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match="is no") as raised:
        parse_value(name, value)
    assert message in str(raised.value)


def test_a_choice_is_parsed_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"'paked' is none of .* Did you mean 'packed'\?"):
        Layout.parse("paked")
    with pytest.raises(ValueError, match=r"'paked' is no feature\. Did you mean 'packed'\?"):
        Feature.parse("paked")


def test_cases_survive_being_stored_as_data(quick_cases: list[Case]) -> None:
    assert len(quick_cases) > 190
    for case in quick_cases:
        assert Case.from_dict(case.as_dict()) == case


def test_cases_can_be_pickled_and_copied(quick_cases: list[Case]) -> None:
    """Worker processes return cases, and the values of an axis are compared by identity."""
    for case in quick_cases[:60]:
        for copied in (pickle.loads(pickle.dumps(case)), copy.deepcopy(case)):
            assert copied == case
            assert copied.prior_use is case.prior_use
            assert copied.distribution is case.distribution


def test_stored_cases_hold_texts_and_unknown_ones_are_refused() -> None:
    data = PLAIN.replace(layout=Layout.PACKED).as_dict()
    assert data["layout"] == "packed"
    with pytest.raises(ValueError, match="layout 'padded' is none of"):
        Case.from_dict({**data, "layout": "padded"})
