"""The rules about cells pass for torch's cells and report planted bugs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from torch import Tensor, nn

from rnnspec.cases.axes import GradMode, InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.kinds import CELLS, LAYERS, Kind
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rule import Theme
from rnnspec.rulekit.violation import Violation, assert_close, assert_identical
from rnnspec.rules.catalogue import find_layer_rule, list_layer_rules
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, check_layer, make_case

GIVEN = InitialState.GIVEN


def make_cell_case(kind: str = "rnn-cell", **changes: object) -> Case:
    """Return a case of a cell with 3 features, 4 units and 3 samples, with some fields changed."""
    return make_case(kind=kind, steps=1, **changes)


PLAIN = make_cell_case()
STATE = make_cell_case(initial_state=GIVEN)
SINGLE = make_cell_case(initial_state=GIVEN, layout=Layout.UNBATCHED)
ONE = make_cell_case(batch=1)
GRU = make_cell_case("gru-cell", initial_state=GIVEN)
LSTM = make_cell_case("lstm-cell", initial_state=GIVEN)
RELU = make_cell_case(nonlinearity="relu")
FROZEN = make_cell_case(initial_state=GIVEN, grad_mode=GradMode.NO_GRAD)
FAILS: Fails = [
    ("cells.returns", "OutputBesides", PLAIN, "a tuple of 2, expected h_1"),
    ("cells.returns", "OutputBesides", LSTM, r"\(h_1, c_1\)"),
    ("cells.returns", "StateInList", GRU, "a tuple of 1, expected h_1"),
    ("cells.shape", "LayerAxisKept", PLAIN, r"h_1 has shape \(1, 3, 4\), expected \(3, 4\)"),
    ("cells.shape", "SampleKeepsBatch", SINGLE, r"h_1 has shape \(1, 4\), expected \(4,\)"),
    ("cells.shape", "OneSampleSqueezed", ONE, r"h_1 has shape \(4,\), expected \(1, 4\)"),
    ("cells.step", "RecurrentWeightTransposed", STATE, "h_1"),
    ("cells.step", "UpdateGateFirst", GRU, "h_1"),
    ("cells.step", "OutputGateIgnored", LSTM, "h_1"),
    ("gates.order", "UpdateGateFirst", GRU, "^gates.order=update,reset,new$"),
    ("gates.order", "RowsReadAsIFOG", LSTM, "^gates.order=input,forget,output,cell$"),
    ("side-effects.arguments", "StateOverwrittenIfFrozen", FROZEN, r"h_0\[\d, \d\] after the call"),
    ("cells.loop", "StateRemembered", PLAIN, "in a loop, after step ., h_1"),
    ("cells.empty-batch", "EmptyBatchWithoutGraph", STATE, "^with zero samples, backward raised"),
    ("side-effects.earlier-results", "BuffersInTurn", FROZEN, "after a later call is"),
    ("cells.state-rank", "LayerStateAccepted", STATE, r"an h_0 of shape .* is accepted"),
    ("cells.state-rank", "LayerStateAccepted", LSTM, r"an h_0 of shape .* is accepted"),
    ("cells.state-of-one-sample", "StateOfOneSampleSpread", STATE, r"an h_0 of shape \(4,\)"),
    ("cells.state-of-one-sample", "StateOfOneSampleSpread", LSTM, r"an h_0 of shape \(4,\)"),
    ("cells.refuses-nonlinearity", "OtherNamesTakenForTanh", PLAIN, "is accepted"),
    ("errors.h-0-batch", "StateBroadcast", STATE, r"an h_0 of shape \(1, 4\)"),
    ("errors.h-0-batch", "StatesUnchecked", STATE, r"an h_0 of shape"),
    ("errors.c-0-batch", "StatesUnchecked", LSTM, r"a c_0 of shape"),
    ("nonlinearity.infinite", "InfinityCutOff", RELU, "expected inf"),
    ("errors.leave-no-trace", "RefusalSwitchesGradientsOff", LSTM, "grad mode has changed"),
    ("errors.feature-size", "FeatureBroadcast", STATE, "1 feature instead of 3"),
    ("errors.h-0-size", "UnitBroadcast", STATE, r"an h_0 of shape"),
    (
        "errors.rank",
        "SequenceAccepted",
        STATE,
        "a 3-D input.* is accepted",
    ),
    ("cell-state.initial", "CellStateLost", LSTM, "^c_0.ignored$"),
    (
        "cell-state.exchanged",
        "ReturnedPairExchanged",
        LSTM,
        "^states.returned-exchanged$",
    ),
    ("cell-state.final", "MemoryGatedBySquare", LSTM, "c_1"),
    ("layouts.unbatched", "StateIgnoredForSamples", SINGLE, "h_1"),
    ("parameters.names", "LayerNames", PLAIN, "missing weight_ih and 3 more"),
    ("gradients.h-0", "InitialStatesDetached", STATE, "gradient of h_0"),
]
SEEDS = 30
OWN = [rule for rule in list_layer_rules() if rule.theme is Theme.CELLS]
CASES = [
    make_cell_case(kind.name, **changes)
    for kind in CELLS
    for changes in (
        {},
        {"initial_state": GIVEN},
        {"initial_state": GIVEN, "layout": Layout.UNBATCHED},
        {"bias": False, "batch": 1},
    )
]


@pytest.mark.parametrize("near", CASES, ids=str)
@pytest.mark.parametrize("rule", OWN, ids=lambda rule: rule.id)
def test_torch_and_the_plain_cells_pass(rule: object, near: Case) -> None:
    kind, name = near.config.kind_data, rule.id  # type: ignore[attr-defined]
    if not find_layer_rule(name).clauses_of(kind.name):
        pytest.skip(f"{kind.page} does not have {name}")
    if not any(find_layer_rule(name).when(near.replace(seed=seed)) for seed in range(100)):
        pytest.skip(f"{name} does not apply to {near}")
    plain = find_bank(kind.name).correct[f"Plain{kind.title}"]
    for layer in (require_documented(kind), plain):
        assert check_layer(name, layer, near) is None


class ChecksIfGivenStates(nn.LSTMCell):
    """A cell that is called with a sequence, or with other features, if it is given no states."""

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        if hx is None and input.dim() == 3:
            for step in input:
                hx = super().forward(step, hx)
            assert hx is not None
            return hx
        if hx is None and input.shape[-1] != self.input_size:
            input = input[..., :1].expand(*input.shape[:-1], self.input_size)
        return super().forward(input, hx)


@pytest.mark.parametrize("rule", ["errors.rank", "errors.feature-size"])
def test_a_wrong_input_is_also_tried_without_states(rule: str) -> None:
    """Wrong input that comes with states is refused because of these."""
    subject = TorchSubject(resolve_target(ChecksIfGivenStates), kind="lstm-cell")
    cases = [
        make_cell_case("lstm-cell", initial_state=InitialState.GIVEN, seed=seed)
        for seed in range(4)
    ]
    reported = [find_violation(rule, Observation(subject, case)) for case in cases]
    assert any("without an initial state is accepted" in text for text in reported)


def find_violation(rule: str, observation: Observation) -> str:
    try:
        find_layer_rule(rule).check(observation)
    except Violation as violation:
        return violation.message
    return ""


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.title)
def test_no_layer_has_a_rule_about_cells(kind: Kind) -> None:
    assert not [rule.id for rule in OWN if rule.clauses_of(kind.name)]


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.title)
def test_a_cell_has_no_rule_about_an_output_or_several_steps(kind: Kind) -> None:
    themes = {rule.theme for rule in list_layer_rules() if rule.clauses_of(kind.name)}
    assert not themes & {Theme.PACKED, Theme.DROPOUT, Theme.DIRECTIONS, Theme.STACKING}
    assert not find_layer_rule("recurrence.output").clauses_of(kind.name)


@pytest.mark.parametrize(
    ("layout", "index"), [(Layout.BATCHED, (2, 1)), (Layout.UNBATCHED, (1,))], ids=str
)
def test_a_difference_is_named_by_its_index_in_the_tensor(
    layout: Layout, index: tuple[int, ...]
) -> None:
    case = make_cell_case(layout=layout, batch=3 if layout is Layout.BATCHED else 1)
    found, expected = (np.zeros((1, case.batch, 4)) for _ in range(2))
    found[0, -1, 1] = 1.0
    with pytest.raises(Violation) as caught:
        assert_identical("h_1", found, expected, case=case)
    assert caught.value.difference is not None
    assert caught.value.difference.index == index


@pytest.mark.parametrize("found", [1e30, -np.inf, np.nan])
def test_only_an_infinity_is_the_infinity_that_is_expected(found: float) -> None:
    subject = TorchSubject(resolve_target(nn.RNNCell), kind="rnn-cell")
    observation, expected = Observation(subject, PLAIN), np.full((1, 3, 4), np.inf)
    assert_close(observation, "h_1", expected, expected, lambda: np.zeros_like(expected))
    wrong = np.full_like(expected, found)
    with pytest.raises(Violation):
        assert_close(observation, "h_1", wrong, expected, lambda: np.zeros_like(expected))


def test_the_requirement_of_a_cell_is_in_its_words() -> None:
    required = {
        rule.id: rule.requirement_of("lstm-cell")
        for rule in list_layer_rules()
        if rule.clauses_of("lstm-cell")
    }
    assert required["cell-state.initial"] == "The step starts from `c_0`."
    assert required["modules.pickle"].startswith("A cell that was pickled")
    words = re.compile(r"\b(layers?|output(?! gate)|[hc]_n|direction|sequence)\b")
    wrong = {id for id, text in required.items() if words.search(text)}
    assert wrong == {"cells.loop", "gates.order"}, wrong
