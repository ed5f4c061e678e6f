"""Rules about gates: the order of their rows in the weights, and each gate by itself."""

from __future__ import annotations

from rnnspec.cases.axes import Distribution
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_axis_value,
    has_exact_values,
    has_predictable_results,
    has_value,
    has_wide_dtype,
    one_in,
)
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.known_mistakes import find_mistakes
from rnnspec.rulekit.assertions.relations import (
    assert_all_expected,
    fail_only_if_explained,
    is_right,
)
from rnnspec.rulekit.fixtures.weights import hold_all_but, list_held_gates
from rnnspec.rulekit.rule import Fact, rule
from rnnspec.rulekit.snippets.results import BOTH
from rnnspec.rulekit.violation import Violation

has_gates: Condition[Case] = Condition(
    "layers with gates", lambda case: case.config.kind_data.is_gated
)
MOST_STEPS = 8
"""Largest number of steps for trying every order of the gates: an LSTM has 23 wrong orders."""
has_few_steps: Condition[Case] = Condition(
    f"at most {MOST_STEPS} time steps", lambda case: case.steps <= MOST_STEPS
)


@rule(
    "gru.parameters.gates.input",
    "gru.parameters.gates.hidden",
    "lstm.parameters.gates.input",
    "lstm.parameters.gates.hidden",
    "lstm-cell.parameters.gates",
    # Exact results are mostly -1, 0 and 1, so that some of 69 orders explain them by chance.
    when=has_gates & has_few_steps & has_predictable_results & has_wide_dtype & ~has_exact_values,
    id="gates.order",
    of_cells="The rows of weights and biases belong to the gates in the order of the layer: reset, "
    "update and new in an `nn.GRUCell`; input, forget, cell and output in an `nn.LSTMCell`.",
)
def order(observation: Observation) -> None:
    """Weights and biases stack the gates along their rows in the documented order: reset, update
    and new gate in an `nn.GRU`; input, forget, cell and output gate in an `nn.LSTM`. Cells use the
    same order as their layers.

    If a result differs from the reference, the rule fails if another order explains the results, in
    all parameters or in some. Other errors are left to other rules.

    Catches the gate order of another library, and gates that are exchanged in some of the
    parameters.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation),
        lambda: _find_order(observation),
    )


def _find_order(observation: Observation) -> Hypothesis | None:
    """Return the only order of the gates that explains the results, or None.

    If several orders do, for example because gates are saturated, the results cannot decide.
    """
    found = find_mistakes(observation, "gates.order")
    is_clear = len({each.family for each in found}) == 1
    return found[0] if is_clear else None


@rule(
    "gru.recurrence.reset-gate",
    "gru.recurrence.update-gate",
    "gru.recurrence.reset-after-product",
    "gru.recurrence.state",
    "lstm.recurrence.input-gate",
    "lstm.recurrence.forget-gate",
    "lstm.recurrence.output-gate",
    "lstm.recurrence.cell-state",
    "lstm.recurrence.hidden-state",
    when=has_gates
    & has_axis_value("bias", True)
    & has_predictable_results
    & has_wide_dtype
    & ~has_exact_values
    & ~has_value(Distribution.NEW)  # a tenth of the time of these large cases
    & one_in(6, 4),
    id="gates.alone",
    presupposes=("gates.order", "recurrence.two-biases"),
    establishes=(Fact.RESULTS,),
)
def alone(observation: Observation) -> None:
    """Each gate by itself computes its equation.

    Biases hold the other gates of a new layer at 0 or 1, so that the layer computes the same as an
    `nn.RNN` with this single gate. Its results in one or two steps are compared with the reference.
    If the layer is wrong even with all gates held, the fault is left to other rules.

    Catches a reset gate that acts before the product, a gate that lacks one of its terms, and
    approximated sigmoids.
    """
    gates = list_held_gates(observation.case.config)
    for gate in gates:
        layer = hold_all_but(observation, gate)
        if not is_right(layer) and is_right(hold_all_but(observation, None)):
            try:
                assert_all_expected(layer)
            except Violation as found:
                others = " and ".join(f"the {each} gate" for each in gates if each != gate)
                text = f"with {others} held, {found.message}: the {gate} gate is wrong"
                raise Violation(text, BOTH, difference=found.difference) from found
