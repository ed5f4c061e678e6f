"""Test that adapters are inferred, and that faults of the layer behind them are still reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.adapters.adapter import SIZES
from rnnspec.cli import status
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.errors import AdapterError, TargetError
from rnnspec.inference.describe import describe_briefly, format_found, write_source
from rnnspec.inference.infer import infer_adapter
from rnnspec.inference.inferred import Inferred, SearchOutcome
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.target import resolve_target
from tests.adapters import half_done, written_faulty
from tests.adapters.written_gated import GRUS, LSTMS, EightLinears, OtherSense, UpdateFirst
from tests.adapters.written_rnns import (
    RNNS,
    DeepByDirection,
    DeepList,
    Dictionary,
    OutputOnly,
    StateRequired,
)
from tests.adapters.written_stacks import (
    STACKS,
    DeepTwoWays,
    StateInFrontOfLayers,
    TwoLayersListed,
    TwoLayersNested,
    TwoLayersPairs,
)

WRITTEN = (half_done.MyRNN, *RNNS, *GRUS, *LSTMS, *STACKS)


def infer(layer: Any, kind: str | None = None) -> Inferred:
    return infer_adapter(resolve_target(layer), LAYER_KINDS[kind] if kind else None)


def compare_with_torch(found: Inferred, **changes: Any) -> None:
    """Compare an adapted layer with the layer of torch that has the same weights."""
    adapter = found.adapter
    arguments: dict[str, Any] = {**adapter.fixed, **changes}
    layer = adapter(4, 6, **arguments)
    reference = require_documented(adapter.kind)(4, 6, **arguments)
    layer.load_state_dict(reference.state_dict())
    first = arguments.get("batch_first", False)
    x = torch.rand((3, 7, 4) if first else (7, 3, 4))
    rows = arguments.get("num_layers", 1) * (2 if arguments.get("bidirectional") else 1)
    states = tuple(torch.rand(rows, 3, 6) for _ in adapter.kind.states)
    hx = None if "h" not in adapter.call.names else states[0] if len(states) == 1 else states
    (output, ends), (right, right_ends) = layer(x, hx), reference(x, hx)
    torch.testing.assert_close(output, right)
    if "h" in adapter.returns.names:
        torch.testing.assert_close(ends, right_ends)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", WRITTEN, ids=lambda layer: layer.__name__)
def test_adapter_of_a_written_layer_is_found(layer: type[nn.Module]) -> None:
    found = infer(layer)
    assert found.outcome is SearchOutcome.FOUND
    assert not found.deviations
    assert len(found.matched) == len(list(layer(2, 3).parameters()))
    compare_with_torch(found)


def test_at_least_twenty_layers_are_written() -> None:
    assert len(WRITTEN) >= 20


def test_deeper_and_bidirectional_layers_are_named_by_templates() -> None:
    found = infer(DeepList)
    assert found.declaration.arguments == {"num_layers": "n_layers", "bidirectional": "bidir"}
    assert found.declaration.weights == {
        "read.{row}.weight": "weight_ih",
        "read.{row}.bias": "bias_ih + bias_hh",
        "carry.{row}.weight": "weight_hh",
    }
    compare_with_torch(found, num_layers=3, bidirectional=True)


def test_parameters_may_be_listed_by_direction() -> None:
    found = infer(DeepByDirection)
    assert found.declaration.weights["cells.{by_direction}.weight_hh"] == "weight_hh"
    compare_with_torch(found, num_layers=3, bidirectional=True)


def test_a_single_sequence_with_states_of_another_shape_is_lacking() -> None:
    declaration = infer(StateInFrontOfLayers).declaration
    assert declaration.lacks["unbatched"] == (
        "a call with a single sequence returns h_n of shape (5, 2)"
    )


def test_layers_that_are_always_there_are_declared() -> None:
    found = infer(DeepTwoWays)
    assert found.declaration.fixed == {"bidirectional": True}
    assert found.declaration.weights["bwd.{layer}.weight_ih"] == "weight_ih_reverse"
    compare_with_torch(found, num_layers=3)
    assert infer(TwoLayersPairs).declaration.fixed == {"num_layers": 2}


def test_documented_layers_need_no_declaration_but_have_one() -> None:
    for name in ("RNN", "GRU", "LSTM"):
        found = infer(getattr(nn, name))
        assert found.outcome is SearchOutcome.FOUND
        assert found.declaration.kind == name.lower()
        assert not found.declaration.lacks


@pytest.mark.parametrize(
    ("layer", "name", "text"),
    [
        (UpdateFirst, "kernel", "weight_ih[update, reset, new].T"),
        (
            UpdateFirst,
            "bias",
            "stack(bias_ih[update, reset, new], bias_hh[update, reset, new])",
        ),
        (OtherSense, "x2h.bias", "rows(bias_ih[reset], -bias_ih[update], bias_ih[new])"),
        (EightLinears, "Wf.bias", "(bias_ih + bias_hh)[forget]"),
    ],
)
def test_gates_and_biases_are_distinguished(layer: type[nn.Module], name: str, text: str) -> None:
    assert infer(layer).declaration.weights[name] == text


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("layer", "call", "returns"),
    [
        (Dictionary, "x, state=h[0]", "{'sequence': output, 'last': h[0]}"),
        (OutputOnly, "x", "output"),
        (EightLinears, "x, h[0], c[0]", "output, h[0], c[0]"),
        (TwoLayersPairs, "x, [(h, c)]", "output, [(h, c)]"),
        (TwoLayersListed, "x, [h], [c]", "output, [h], [c]"),
        (TwoLayersNested, "x, ([h], [c])", "output, ([h], [c])"),
    ],
)
def test_forms_of_calls_are_found(layer: type[nn.Module], call: str, returns: str) -> None:
    declaration = infer(layer).declaration
    assert (declaration.call, declaration.returns) == (call, returns)


def test_a_needed_state_is_passed() -> None:
    found = infer(StateRequired)
    assert found.declaration.needs_state
    layer = found.adapter(2, 3, batch_first=True)
    x = torch.rand(2, 4, 2)
    assert torch.equal(layer(x)[0], layer(x, torch.zeros(1, 2, 3))[0])


class OneBias(nn.Module):
    """A GRU with one bias for each gate."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.w = nn.Linear(input_size, 3 * hidden_size)
        self.u = nn.Linear(hidden_size, 3 * hidden_size, bias=False)

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> Any:
        h = x.new_zeros(x.size(1), self.u.in_features) if h is None else h
        out = []
        for step in x:
            (xr, xz, xn), (hr, hz, hn) = self.w(step).chunk(3, 1), self.u(h).chunk(3, 1)
            z = torch.sigmoid(xz + hz)
            h = (1 - z) * torch.tanh(xn + torch.sigmoid(xr + hr) * hn) + z * h
            out.append(h)
        return torch.stack(out), h


def test_biases_that_the_formula_does_not_have_are_held_at_zero() -> None:
    found = infer(OneBias)
    assert found.outcome is SearchOutcome.FOUND
    assert found.declaration.fixed == {"bias": False}
    assert found.declaration.weights["w.bias"] == "0"
    compare_with_torch(found)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("layer", "by_name"),
    [
        (half_done.Forgetful, ("h2h.bias",)),
        (written_faulty.Mixed, ("h2h.weight",)),
    ],
)
def test_a_deviation_from_the_formula_is_named(
    layer: type[nn.Module], by_name: tuple[str, ...]
) -> None:
    found = infer(layer)
    assert found.outcome is SearchOutcome.NOT_FOUND
    assert found.by_name == by_name
    assert found.deviations
    assert by_name[0] in format_found(found).splitlines()[-1]
    assert describe_briefly(found).startswith("the adapter is the closest that was found")


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "layer",
    [
        written_faulty.CellIgnored,
        written_faulty.CellForHidden,
        written_faulty.DetachedCell,
        written_faulty.FirstState,
    ],
    ids=lambda layer: layer.__name__,
)
def test_fault_about_states_hides_no_parameter(layer: type[nn.Module]) -> None:
    right = infer(layer.__mro__[1])
    found = infer(layer)
    assert found.outcome is SearchOutcome.FOUND
    assert found.declaration.weights == right.declaration.weights
    assert bool(found.deviations) == (layer is not written_faulty.DetachedCell)


class Two(nn.Module):
    """Takes something that is no documented argument."""

    def __init__(self, input_size: int, hidden_size: int, vocabulary: int) -> None:
        super().__init__()


class Nothing(nn.Module):
    """Has the parameters of an RNN, and returns something else."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.RNNCell(input_size, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


class WithBothHalves(nn.Module):
    """Returns its output, and the input of another layer that is twice as wide."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output, _ = self.rnn(x)
        return output, torch.cat([output, output], -1)


def test_a_wide_result_beside_the_output_is_no_second_direction() -> None:
    assert infer(WithBothHalves).outcome is SearchOutcome.FOUND


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (Two, AdapterError, "rnnspec cannot infer 'vocabulary'"),
        (Nothing, AdapterError, "returns an output of 5 units for each step"),
        (nn.Linear, TargetError, "has 20 parameters, too few for a recurrent layer"),
        (nn.Identity, TargetError, "has 0 parameters"),
    ],
)
def test_a_target_that_is_no_recurrent_layer_is_refused(
    layer: type[nn.Module], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        infer(layer)
    assert message in str(caught.value)


@pytest.mark.slow
def test_command_writes_a_declaration_that_can_be_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(half_done.__file__).read_text(encoding="utf-8")
    (tmp_path / "half.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert status(["adapt", "half.py:MyRNN", "--write", "adapters.py"]) == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "adapters.py").read_text(encoding="utf-8") in shown
    assert shown.splitlines()[-1] == (
        "half.py:MyRNN: an adapter was found. The declaration was written to adapters.py. "
        "`rnnspec check adapters.py:MyRNN` uses it."
    )
    assert "lacks        num_layers, nonlinearity, bias, dropout, bidirectional" in shown
    report = rnnspec.check("adapters.py:MyRNN", profile="quick", cases=9)
    assert not report.violations
    assert status(["adapt", "half.py:MyRNN", "--write", "adapters.py"]) == 2
    assert "there is such a file, which may have been edited" in capsys.readouterr().err
    assert status(["adapt", "half.py:Forgetful"]) == 1
    assert status(["adapt", "half.py:MyRNN", "--kind", "gur"]) == 2
    assert "Did you mean 'gru'?" in capsys.readouterr().err


def test_layer_of_a_declaration_is_found_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(half_done.__file__).read_text(encoding="utf-8")
    (tmp_path / "half.py").write_text(source, encoding="utf-8")
    (tmp_path / "conformance").mkdir()
    monkeypatch.chdir(tmp_path)
    isolated = ["adapt", "half.py:MyRNN", "--no-isolate", "--write"]
    assert status([*isolated, "adapters.py"]) == 0
    assert status([*isolated, "conformance/deeper.py"]) == 0
    written = (tmp_path / "conformance" / "deeper.py").read_text(encoding="utf-8")
    assert '"../half.py:MyRNN"' in written
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    for place in ("../adapters.py", "../conformance/deeper.py"):
        assert status(["smoke", f"{place}:MyRNN", "--no-isolate"]) == 0
    assert capsys.readouterr().out.count("ready: ") == 2


def test_documented_layer_needs_no_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["adapt", "torch.nn:RNN", "--no-isolate"]) == 0
    said = capsys.readouterr().out
    assert "lacks" not in said
    assert said.splitlines()[-1] == (
        "torch.nn:RNN has the documented names and needs no adapter: `rnnspec check torch.nn:RNN` "
        "checks it as it is."
    )


class Documented(half_done.MyRNN):
    """A layer with the names of nn.RNN whose constructor takes no more than both sizes."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        nn.Module.__init__(self)
        self.own = [nn.RNN(input_size, hidden_size)]
        for name, parameter in self.own[0].named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: torch.Tensor, hx: torch.Tensor | None = None) -> Any:
        given = (x,) if hx is None else (x, hx)
        return torch.func.functional_call(self.own[0], dict(self.named_parameters()), given)


def test_layer_that_lacks_arguments_needs_an_adapter_even_with_documented_names() -> None:
    assert not infer(Documented).is_documented
    report = rnnspec.check(Documented, adapt=True, profile="quick", cases=20, parts=("values",))
    assert not report.violations
    assert infer(nn.RNN).is_documented
    assert infer(nn.LSTM).is_documented


class ResetBeforeInAnotherOrder(nn.Module):
    """A GRU with stacked gates that resets the state before it is multiplied, and doubles it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.size = hidden_size
        self.kernel = nn.Parameter(torch.zeros(input_size, 3 * hidden_size))
        self.recurrent = nn.Parameter(torch.zeros(hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.zeros(3 * hidden_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, outs = x.new_zeros(x.size(1), self.size), []
        new, update, reset = self.recurrent.chunk(3, 1)
        for step in x:
            n, z, r = (step @ self.kernel + self.bias).chunk(3, 1)
            z, r = torch.sigmoid(z + h @ update), torch.sigmoid(r + h @ reset)
            h = (1 - z) * torch.tanh(n + 2.0 * (r * h) @ new) + z * h
            outs.append(h)
        return torch.stack(outs)


def test_the_closest_adapter_has_the_gates_in_the_order_that_was_found() -> None:
    found = infer(ResetBeforeInAnotherOrder)
    assert found.outcome is SearchOutcome.NOT_FOUND
    assert found.by_name == ("recurrent",)
    assert found.declaration.weights["kernel"] == "weight_ih[new, update, reset].T"
    assert found.declaration.weights["recurrent"] == "weight_hh[new, update, reset].T"


class NamedLikeFlax(half_done.MyRNN):
    def __init__(self, in_features: int, features: int) -> None:
        super().__init__(in_features, features)


class NamedLikeMamba(half_done.MyRNN):
    def __init__(self, d_model: int, d_state: int) -> None:
        super().__init__(d_model, d_state)


@pytest.mark.parametrize("layer", [NamedLikeFlax, NamedLikeMamba])
def test_two_sizes_that_are_needed_are_those_of_input_and_state_in_order(layer: Any) -> None:
    """`features` is the size of the input elsewhere, and `d_model` that of the state."""
    found = infer(layer)
    assert found.outcome is SearchOutcome.FOUND
    assert not set(SIZES) & found.declaration.arguments.keys()


class HardGates(nn.Module):
    """A GRU with (in, out) weights whose gates are not sigmoids, so that only names say theirs."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.W_z, self.W_r, self.W_h = (nn.Parameter(torch.empty(n_in, n_units)) for _ in range(3))
        self.U_z, self.U_r, self.U_h = (
            nn.Parameter(torch.empty(n_units, n_units)) for _ in range(3)
        )

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> Any:
        h, outs = h[0], []
        for step in x:
            z, r = (
                (0.3 * (step @ w + h @ u) + 0.5).clamp(0, 1)
                for w, u in ((self.W_z, self.U_z), (self.W_r, self.U_r))
            )
            h = z * h + (1 - z) * torch.tanh(step @ self.W_h + r * (h @ self.U_h))
            outs.append(h)
        return torch.stack(outs), h[None]


@pytest.mark.slow
def test_a_square_weight_known_by_name_is_transposed_like_the_others() -> None:
    found = infer(HardGates, "gru")
    assert "U_z" in found.by_name
    assert found.declaration.weights["U_z"] == "weight_hh[update].T"
    assert found.declaration.weights["U_r"] == "weight_hh[reset].T"


class WithHead(half_done.MyRNN):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.head = nn.Linear(hidden_size, output_size)


class OneSize(half_done.MyRNN):
    def __init__(self, size: int) -> None:
        super().__init__(size, size)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (WithHead, "takes input_size, hidden_size, output_size, and rnnspec cannot infer 'output_"),
        (OneSize, "takes size, and these are not two sizes. Name a function that takes both sizes"),
    ],
)
def test_a_constructor_that_is_not_understood_is_refused(
    layer: type[nn.Module], message: str
) -> None:
    with pytest.raises(AdapterError) as caught:
        infer(layer)
    assert message in str(caught.value)


def test_source_of_a_declaration_makes_the_same_adapter() -> None:
    found = infer(DeepList)
    names: dict[str, Any] = {}
    exec(write_source(found), names)
    made = names["DeepList"]
    assert made.weights.keys() == found.adapter.weights.keys()
    assert made.unsupported.keys() == found.adapter.unsupported.keys()
    assert [name for name in made.arguments if name in SIZES] == []


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU])
def test_documented_layer_is_checked_without_an_adapter(layer: type[nn.Module]) -> None:
    report = rnnspec.check(layer, adapt=True, profile="quick", cases=9, rules="parameters.names")
    assert report.result("parameters.names").cases > 0
    assert report.notes == ("the layer has the documented names and needs no adapter",)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [half_done.MyRNN, OtherSense], ids=lambda layer: layer.__name__)
def test_check_finds_the_adapter_itself(layer: type[nn.Module]) -> None:
    rules = ("recurrence.*", "states.*", "gradients.weights", "shapes.*")
    report = rnnspec.check(layer, adapt=True, profile="quick", rules=rules)
    assert report.verdict is RunVerdict.CONFORMS
    assert report.notes[0].startswith("an adapter was found for all 4 parameters")


FAULTS = [
    (half_done.Forgetful, "recurrence.output"),
    (half_done.Detaching, "gradients.weights"),
    (written_faulty.StateIgnored, "states.initial-state-used"),
    (written_faulty.FirstState, "states.h-n-is-last-output"),
    (written_faulty.Mixed, "samples.independent"),
    (written_faulty.SinglePrecision, "recurrence.output"),
    (written_faulty.FinalsByDirection, "directions.h-n-order"),
    (written_faulty.NoResetGradient, "gradients.weights"),
    (written_faulty.SharedStart, "states.routing"),
    (written_faulty.SecondDetached, "gradients.weights"),
    (written_faulty.StateOfSecondIgnored, "states.initial-state-used"),
    (written_faulty.ForwardReadTwice, "stacking.reads-both-directions"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "rule"), FAULTS, ids=[each.__name__ for each, _ in FAULTS])
def test_only_the_planted_fault_is_reported_through_an_adapter(
    layer: type[nn.Module], rule: str
) -> None:
    report = rnnspec.check(layer, adapt=True, profile="quick", cases=100)
    assert [fault.rule for fault in report.faults] == [rule]


def test_program_of_a_fault_declares_the_adapter() -> None:
    report = rnnspec.check(
        half_done.Detaching, adapt=True, profile="quick", cases=20, rules=("gradients.weights",)
    )
    program = report.result("gradients.weights").repro
    assert program is not None
    assert "adapted = adapt.module(\n      Detaching," in program.replace("\n    D", "\n      D")
