"""Rules about projections: hidden states with `proj_size` units."""

from __future__ import annotations

from rnnspec.cases.axes import Feature, Projection
from rnnspec.cases.conditions import has_predictable_results, has_value, has_wide_dtype, one_in
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import assert_all_expected, assert_expected
from rnnspec.rulekit.assertions.results import assert_state_shape
from rnnspec.rulekit.rejections.constructors import (
    PROJECTION_SIZES,
    assert_arguments_rejected,
    assert_error_types,
)
from rnnspec.rulekit.rule import CONSTRUCTOR_CALLS, NAMED_ARGUMENTS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.rules.shapes import get_data

is_projected = has_value(Projection.SOME)
NEEDS = (Feature.PROJECTION,)

WIDTH = Snippet(
    """output, (h_n, c_n) = layer(*given)
assert (data(output).shape[-1], h_n.shape[-1], c_n.shape[-1]) == {sizes}""",
    (Helper.DATA,),
)
UNEXPECTED = "registered without proj_size, expected no projection"
NAMES = Snippet("""def shapes(each):
    return {name: p.shape for name, p in each.named_parameters() if "weight_hr" in name}

assert shapes(layer) == shapes(reference)""")


@rule(
    "lstm.projection.state",
    "lstm.projection.recurrence",
    "lstm.projection.layers",
    when=is_projected & has_predictable_results & has_wide_dtype,
    needs=NEEDS,
    about=("proj_size",),
)
def results(observation: Observation) -> None:
    """With `proj_size` above 0, each hidden state is the product of `weight_hr` and the unprojected
    hidden state, without a bias. The next step and the next layer read the projected state.

    All results are compared with the reference.

    Catches projections of the last step or of the output only, transposed projections, biases and
    activations after the product, and gates that use the unprojected state.
    """
    assert_all_expected(observation)


@rule(
    "lstm.output.projected-width",
    "lstm.args.proj-size",
    when=is_projected,
    needs=NEEDS,
    about=("proj_size",),
)
def width(observation: Observation) -> None:
    """With `proj_size` above 0, `output` has `D * proj_size` features and `h_n` has `proj_size`
    units.

    The last dimensions of `output` and `h_n` are compared with the documented sizes.

    Catches outputs of `hidden_size` units, and the width of a single direction.
    """
    config, call = observation.case.config, observation.call
    found = get_data(call.raw_output).shape[-1]
    expected = config.num_directions * config.output_size
    if found != expected:
        sizes = (expected, config.proj_size, config.hidden_size)
        text = f"output has {found} features, expected {expected} with proj_size={config.proj_size}"
        raise Violation(text, WIDTH.format(sizes=sizes))
    assert_state_shape(observation, "h_n")


@rule(
    "lstm.projection.cell-state",
    when=is_projected & has_predictable_results & has_wide_dtype,
    needs=(*NEEDS, Feature.FINAL_STATE),
    about=("proj_size",),
)
def cell_state(observation: Observation) -> None:
    """The cell state is not projected: `c_n` has `hidden_size` units whatever `proj_size` is.

    The shape of `c_n` is compared with the documented one, and its values with the reference.

    Catches cell states that are projected or cut off together with the hidden state.
    """
    assert_state_shape(observation, "c_n")
    assert_expected(observation, "c_n")


@rule(
    "lstm.parameters.weight-hr.shape",
    "lstm.parameters.weight-hr.only-with-projections",
    "lstm.parameters.reverse.weight-hr",
    "lstm.args.proj-size.default",
    when=one_in(3),
    needs=NEEDS,
    id="parameters.projection",
    presupposes=(*CONSTRUCTOR_CALLS,),
    establishes=(Fact.CALL,),
)
def parameters(observation: Observation) -> None:
    """Each layer and direction has a `weight_hr` of shape `(proj_size, hidden_size)` if `proj_size`
    is above 0, and none otherwise.

    The names and shapes of a new layer's parameters called `weight_hr` are compared with the
    documented names and shapes.

    Catches transposed projections, a projection shared by both directions or by all layers, and
    projections in layers that should have none.
    """
    expected = {
        name: shape
        for name, shape in parameter_shapes(observation.case.config).items()
        if name.startswith("weight_hr")
    }
    found = {each.name: each.shape for each in observation.new.named if "weight_hr" in each.name}
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise Violation(
                f"{name} has shape {found.get(name)}, expected {expected.get(name)}"
                if name in found and name in expected
                else f"{name} is {'missing' if name in expected else UNEXPECTED}",
                NAMES,
            )


@rule(
    "lstm.args.proj-size.refused",
    when=PROJECTION_SIZES.when,
    needs=NEEDS,
    id="construction.refuses-projections",
    presupposes=(*NAMED_ARGUMENTS,),
)
def refused(observation: Observation) -> None:
    """The constructor raises `ValueError` for a `proj_size` that is negative or not smaller than
    `hidden_size`.

    A layer is built with such sizes.

    Catches sizes that are not checked, or checked only in the first call.
    """
    assert_arguments_rejected(observation, PROJECTION_SIZES)
    assert_error_types(observation, (PROJECTION_SIZES,))
