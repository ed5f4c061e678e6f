"""Reproduction programs: they fail for the subject, pass for torch's layer, and need only torch."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch

from rnnspec import oracle
from rnnspec.cases.axes import (
    ConstructorStyle,
    Distribution,
    DType,
    Feature,
    GradMode,
    InitialState,
    Mode,
    PriorUse,
)
from rnnspec.cases.axes import Float32Precision as Precision
from rnnspec.cases.case import Case
from rnnspec.cases.states import name_initial
from rnnspec.cases.values import Values, draw_values
from rnnspec.contract.kinds import Kind
from rnnspec.contract.shapes import state_shape
from rnnspec.engine.explanations import Program
from rnnspec.engine.outcome import Finding, FindingKind
from rnnspec.observe.tensors import find_batch_axis, to_layout, to_state_layout
from rnnspec.oracle import Array
from rnnspec.plain.by_oracle import CALLS, LAYERS_BY_ORACLE, NOISE
from rnnspec.report.execution import is_failing_program, run_program
from rnnspec.report.literals import (
    KEEP,
    RECORD,
    WRITTEN_OUT,
    ComparisonRecorder,
    Keeper,
    choose_numbers,
    choose_tolerance,
    mark_comparisons,
    write_comparisons,
    write_helper,
    write_kept,
)
from rnnspec.report.program_helpers import (
    CLOSE,
    DATA,
    NAMED,
    OF_STATES,
    OTHER_PLACE,
    PLACE,
    RENAMED,
    SPREAD,
    SPREAD_STATES,
)
from rnnspec.rulekit.snippet import Helper, Snippet, write_states
from rnnspec.rulekit.snippets.float32_sums import compare_results_alone
from rnnspec.rulekit.snippets.gradients import SECOND_BACKWARD, SECOND_ORDER
from rnnspec.rulekit.snippets.of_cells import write_for_cell
from rnnspec.rulekit.snippets.results import (
    BOTH,
    CALL_LAYER,
    ON_COPIES,
    compare_gradients,
    leave_out_states,
)
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.release import is_promised
from rnnspec.subjects.target import Target

TF32_TOLERANCE = 0.01
AUTOCAST_TOLERANCE = 0.1
"""As in programs that compare with torch's own layer, see `use.amp.autocast`. The errors of torch's
six kinds were at most 0.09 of the proved bound, which is 0.2 for a single unit and step.
"""
LIMIT = 0.9
"""The limit that programs use to draw weights."""
MANY_UNITS = 64
"""The number of units from which programs use smaller weights.

From here on, weights up to `LIMIT` have a spectral radius of 4 and more (0.52 times the root of the
units), so that errors grow within a few steps.
"""
ADDED_ERRORS = 4
"""The errors of n terms add up to about sqrt(n) of them, and hardly ever to four times as much."""
MOST_NUMBERS = 1000
"""Limit on the values that a program writes out if it also compares with numbers."""
ENTRIES = (
    "reference.state_dict()",
    "{**layer.state_dict(), **reference.state_dict()}",
    "{**layer.state_dict(), **renamed}",
)
"""The entries that a program loads into the subject, just as the rules do.

A subject with more entries keeps its own entries; a subject with other names gets them in the
documented order. Only rules about names check this.
"""
RENAMED_WEIGHTS = "renamed = dict(zip(dict(layer.named_parameters()), reference.parameters()))"
"""The weights by the subject's own names, for a subject without the documented names."""
PLACES = "places = dict(zip(dict(reference.named_parameters()), dict(layer.named_parameters())))"
"""The names of such a subject by documented name, before any other use of it."""
LOCATE = """
def locate(module, name):
    holder, _, leaf = name.rpartition(".")
    return module.get_submodule(holder), leaf
"""
"""The function that a program with such a subject uses to replace parameters."""
MORE_SEEDS = (0, 2, 4)
"""Offsets to the seed of a case; they are even, so that a prior use with two ways keeps its way."""


class Inside(torch.nn.Module):
    """A layer of torch whose parameters have other names."""

    def __init__(self, factory: Callable[..., torch.nn.Module], *given: Any, **named: Any) -> None:
        super().__init__()
        self.inside = factory(*given, **named)

    def forward(self, *given: Any, **named: Any) -> Any:
        """Return the results of the layer."""
        return self.inside(*given, **named)


def find_reference(kind: Kind) -> Target:
    """Return the layer of torch for which a program passes. Raises ValueError if there is none."""
    factory = require_documented(kind)
    return Target(factory, kind.documented, kind.qualified_name, ())


def finds_parameters(finding: Finding[Case], device: str, seed: int | None) -> bool:
    """Return whether a program finds the parameters of a subject that has other names.

    It does if it passes, or raises only AssertionError, for a layer of torch with other names.
    """
    standard = find_reference(finding.case.config.kind_data)
    renamed = replace(standard, factory=partial(Inside, standard.factory), name="renamed")
    source = write_program(renamed, finding, None, device, seed=seed, entries=ENTRIES[2])
    return isinstance(run_program(source, renamed, device), AssertionError | None)


def find_program(
    target: Target,
    finding: Finding[Case],
    fixed: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Program:
    """Return a program that fails for the subject and passes for the layer of torch.

    Its weights and inputs are drawn from one of a few seeds. If no seed reproduces the fault, the
    program contains the values of the case. If this fails too, for example because the layer of
    torch is wrong as well, the program compares with values of the reference. If no program shows
    the fault, return the reason.
    """
    if finding.kind is FindingKind.CHECKER_ERROR:
        return Program(missing="the check itself failed, which shows nothing about the subject")
    kind = finding.case.config.kind_data
    if not kind.documented:
        return Program(missing=f"there is no documented {kind.noun} to compare with")
    is_shown, standard = False, find_reference(kind)
    entries = choose_entries(target, finding.case, fixed, device)
    is_renamed = entries == ENTRIES[2]
    for tried, seed in _list_attempts(finding):
        source = write_program(target, tried, fixed, device, seed=seed, entries=entries)
        if not is_failing_program(source, target, device):
            continue
        if is_renamed and not finds_parameters(tried, device, seed):
            continue
        is_shown = True
        reference = write_program(standard, tried, None, device, seed=seed)
        if not is_failing_program(reference, standard, device):
            return Program(source)
    compared = _find_literal_program(target, finding, fixed, device, entries)
    if compared is not None:
        return Program(compared)
    if is_shown:
        return Program(missing=f"the program that was tried fails for {standard.name} as well")
    return Program(missing="the program that was tried does not show the fault")


def _find_literal_program(
    target: Target,
    finding: Finding[Case],
    fixed: Mapping[str, Any] | None,
    device: str,
    entries: str,
) -> str | None:
    """Return a program that compares with nothing of torch, or None.

    It fails for the subject and passes for a layer that the oracle computes.
    """
    stopped = finding.kind is FindingKind.SUBJECT_ERROR
    call = [(replace(finding, snippet=CALL_LAYER), 0)] if stopped else []
    for tried, seed in (*call, *_list_attempts(finding, (0, None))):
        if seed is None and _count_numbers(tried.case) > MOST_NUMBERS:
            continue
        writer, tolerance = make_writer(target, tried, fixed, device, seed=seed, entries=entries)
        right = _make_target_by_oracle(writer)
        for find in (_keep_comparisons, _compare_with_numbers):
            found = find(target, writer)
            if found is None:
                continue
            source = found.write(tolerance)
            if is_failing_program(source, target, device) and not is_failing_program(
                found.write_for(right).write(tolerance), right, device
            ):
                return source
    return None


def _count_numbers(case: Case) -> int:
    """Return the number of values that a program writes out with the values of a case."""
    values = draw_values(case)
    arrays = (*values.weights.values(), values.input, values.initial)
    return sum(each.size for each in arrays)


def _keep_comparisons(target: Target, writer: ProgramWriter) -> ProgramWriter:
    """Return the writer unchanged: its program may compare only results of the subject."""
    return writer


def _compare_with_numbers(target: Target, writer: ProgramWriter) -> ProgramWriter | None:
    """Return the writer of a program that compares with values of the reference.

    Return None if the reference does not compute them, if rounding alone may change them by more
    than the tolerance, or if they show nothing wrong. Values that the subject does not reach
    because it is stopped count as wrong.
    """
    writer, case = replace(writer, limit=choose_limit(writer.case)), writer.case
    accurate = compare_results_alone(writer.snippet)
    writer = replace(writer, snippet=accurate or writer.snippet)
    right = _make_target_by_oracle(writer)
    marked = replace(writer, snippet=mark_comparisons(writer.snippet), reference=right.name)

    def record(
        subject: Target, noise: float = 0.0, kept: Keeper | None = None
    ) -> tuple[ComparisonRecorder, bool]:
        recorder, before = ComparisonRecorder(), NOISE.set(noise)
        each = marked.write_for(right) if subject is right else marked
        given = {
            RECORD: recorder,
            KEEP: Keeper() if kept is None else kept,
            right.name: right.factory,
        }
        try:
            error = run_program(each.write(1.0), subject, writer.device, given)
        finally:
            NOISE.reset(before)
        return recorder, error is None

    CALLS.clear()
    kept = Keeper()
    expected, is_computed = record(right, kept=kept)
    if not is_computed:
        return None
    lines = write_kept(writer.snippet, kept)
    if not expected.pairs:
        is_same = lines == writer.snippet
        return None if is_same else replace(writer, snippet=lines, functions=(WRITTEN_OUT,))
    rounding, usual = _find_arithmetic(case, adds_in_float32=accurate is not None)
    tolerance = choose_tolerance(CALLS, rounding, usual)
    if tolerance.relative:
        terms = max((call.count_terms() for call in CALLS), default=0)
        disturbed, _ = record(right, ADDED_ERRORS * terms**0.5 * rounding.u_st)
        if choose_numbers(expected, disturbed, tolerance) is not None:
            return None
    chosen = choose_numbers(expected, record(target)[0], tolerance)
    if chosen is None:
        return None
    function = write_helper(chosen, tolerance, is_packed=case.is_packed)
    return replace(writer, snippet=write_comparisons(lines, chosen), functions=(function,))


def _find_arithmetic(case: Case, *, adds_in_float32: bool) -> tuple[oracle.Rounding, float]:
    """Return how layers round in the last calls, and the usual tolerance of programs for that."""
    autocast = next((call.autocast for call in CALLS if call.autocast), None)
    if autocast is not None:
        return oracle.AUTOCAST[str(autocast).removeprefix("torch.")], AUTOCAST_TOLERANCE
    rounding = oracle.ROUNDINGS[case.rounding]
    if adds_in_float32:
        rounding = oracle.FLOAT32_SUMS.get(case.rounding, rounding)
    return rounding, _find_tolerance(case)


def choose_limit(case: Case) -> float:
    """Return the limit that a program uses to draw weights.

    With many units it is the limit used for a new layer, so that errors do not grow from step to
    step.
    """
    is_small = case.config.hidden_size < MANY_UNITS
    return LIMIT if is_small else _round_new_limit(case)


def _round_new_limit(case: Case) -> float:
    """Return the limit of the weights of a new layer, with two digits."""
    return float(f"{case.config.hidden_size**-0.5:.2g}")


def _make_target_by_oracle(writer: ProgramWriter) -> Target:
    layer = LAYERS_BY_ORACLE[writer.case.config.kind]
    return Target(layer, layer.__name__, layer.__name__, ())


def _list_attempts(
    finding: Finding[Case], seeds: Sequence[int | None] = (*MORE_SEEDS, None)
) -> Iterator[tuple[Finding[Case], int | None]]:
    """Yield attempts at a program: a finding with other last lines, and an offset to the seed."""
    for snippet in _list_snippets(finding):
        # The rule may have compared two calls bit for bit, or a gradient, so its allowed error does
        # not hold for other comparisons.
        difference = finding.difference if snippet is finding.snippet else None
        for case in list_cases_of_program(finding.case):
            for seed in seeds:
                yield replace(finding, snippet=snippet, difference=difference, case=case), seed


def list_cases_of_program(case: Case) -> list[Case]:
    """Return the cases to try in a program: the case itself, and the case without its prior use.

    An effect of the checked call, such as a changed setting, may already come from an earlier call.
    """
    return list(dict.fromkeys((case, case.make_fresh())))


def choose_entries(target: Target, case: Case, fixed: Mapping[str, Any] | None, device: str) -> str:
    """Return the first of `ENTRIES` that the subject loads, or the documented entries."""
    fresh = case.make_fresh()
    loading = Finding(0, fresh, "", snippet=Snippet("pass"))
    tried = (
        entries
        for entries in ENTRIES
        if not is_failing_program(
            write_program(target, loading, fixed, device, entries=entries), target, device
        )
    )
    return next(tried, ENTRIES[0])


def _list_snippets(finding: Finding[Case]) -> list[Snippet]:
    """Return the last lines to try, starting with the rule's own.

    Random results are not compared. If the subject was stopped in another step than the call, a
    backward pass may show it.
    """
    kind = finding.case.config.kind_data
    found = [
        each for each in (finding.snippet, CALL_LAYER if finding.case.is_random else BOTH) if each
    ]
    if finding.case.grad_mode is GradMode.INFERENCE:
        found.append(ON_COPIES)
    if finding.kind is FindingKind.SUBJECT_ERROR:
        found += [
            compare_gradients("input", kind),
            SECOND_BACKWARD,
            SECOND_ORDER,
        ]
    return list(dict.fromkeys(found))


def write_program(
    target: Target,
    finding: Finding[Case],
    fixed: Mapping[str, Any] | None = None,
    device: str = "cpu",
    *,
    seed: int | None = 0,
    entries: str = ENTRIES[0],
) -> str:
    """Return the source of a program that reproduces a finding; see `make_writer`."""
    writer, tolerance = make_writer(target, finding, fixed, device, seed=seed, entries=entries)
    return writer.write(tolerance)


def make_writer(
    target: Target,
    finding: Finding[Case],
    fixed: Mapping[str, Any] | None = None,
    device: str = "cpu",
    *,
    seed: int | None = 0,
    entries: str = ENTRIES[0],
) -> tuple[ProgramWriter, float]:
    """Return the writer of a program that reproduces a finding, and the program's tolerance.

    Its values are drawn from the sum of the case's seed and `seed`; if `seed` is None, the values
    of the case are written out. `fixed` holds the constructor arguments set by the user; arguments
    that the layer of torch does not document are passed only to the subject, which loads `entries`.
    """
    is_literal = seed is None
    snippet = finding.snippet or BOTH
    case = finding.case if seed is None else finding.case.replace(seed=finding.case.seed + seed)
    if Helper.FLOAT64 in snippet.uses:
        case = case.replace(dtype=DType.FLOAT64, float32_precision=Precision.IEEE)
    extra = {
        name: value for name, value in (fixed or {}).items() if name not in case.config.arguments
    }
    name = f"functools.partial({target.name}, {_write_keywords(extra)})" if extra else target.name
    imports = ("functools",) if extra else ()
    if case.config.kind_data.is_cell:
        has_one_state = not case.config.kind_data.has_several_states
        snippet = write_for_cell(snippet, has_one_state=has_one_state)
    elif Feature.FINAL_STATE in target.unsupported:
        snippet = leave_out_states(snippet)
    program = ProgramWriter(
        name,
        case,
        snippet,
        device,
        target.imports,
        imports,
        literal=is_literal,
        entries=entries,
    )
    return program, _choose_tolerance(finding, case) if is_literal else _find_tolerance(case)


def _choose_tolerance(finding: Finding[Case], case: Case) -> float:
    """Return twice the error allowed for the values of the case, if that is known."""
    if finding.difference is not None and np.isfinite(finding.difference.allowed):
        return max(2 * finding.difference.allowed, 1e-300)
    return _find_tolerance(case)


def _find_tolerance(case: Case) -> float:
    is_tf32 = case.float32_precision is Precision.TF32
    return TF32_TOLERANCE if is_tf32 else case.dtype.program_tolerance


@dataclass(frozen=True)
class ProgramWriter:
    """A reproduction program.

    name             Python expression for the callable that builds the subject
    snippet          the last lines, which fail
    subject_imports  lines that import the subject
    imports          other modules that the program needs
    literal          whether the values of the case are written out
    entries          the entries that the subject loads, from `ENTRIES`
    reference        Python expression that builds the layer with the weights; torch's by default
    functions        definitions of further functions that the last lines call
    limit            the limit of the weights, if they are drawn
    """

    name: str
    case: Case
    snippet: Snippet
    device: str = "cpu"
    subject_imports: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    literal: bool = field(default=False, kw_only=True)
    entries: str = field(default=ENTRIES[0], kw_only=True)
    reference: str = field(default="", kw_only=True)
    functions: tuple[str, ...] = field(default=(), kw_only=True)
    limit: float = field(default=LIMIT, kw_only=True)

    def write_for(self, subject: Target) -> ProgramWriter:
        """Return the writer of the same program for a subject with the documented names."""
        return replace(
            self,
            name=subject.name,
            subject_imports=subject.imports,
            imports=(),
            entries=ENTRIES[0],
        )

    def write(self, tolerance: float) -> str:
        """Return the source, with comparisons that allow this absolute tolerance.

        The tolerance is relative as well, unless the values of a case are written out.
        """
        blocks = [
            "\n".join(self._write_head()),
            "\n".join([*self._write_layers(), *self._write_arguments(), *self._write_prior_use()]),
            *self._write_helpers(tolerance),
            self._write_last_lines(),
        ]
        return "\n\n".join(blocks) + "\n"

    def _uses(self, helper: Helper) -> bool:
        return helper in self.snippet.uses

    @property
    def _is_renamed(self) -> bool:
        """Whether the subject has other names than the documented names."""
        return self.entries == ENTRIES[2]

    @property
    def _values(self) -> Values:
        return draw_values(self.case)

    def _write_head(self) -> list[str]:
        uses = (module for use in self._uses_before for module in use.imports)
        modules = (*self.imports, *uses, *self.snippet.imports)
        imports = [f"import {module}" for module in sorted(set(modules))]
        settings = self._write_settings()
        return [
            *imports,
            *([""] if imports else []),
            "import torch",
            "",
            *self.subject_imports,
            *(["", *settings] if settings else []),
        ]

    def _write_settings(self) -> list[str]:
        """Return the settings of torch that a device other than the CPU needs.

        CUDA computes in full precision unless the case allows TF32. Programs about gradients
        disable cuDNN, because it supports only first derivatives, and only in training mode.
        """
        if self.device == "cpu":
            return []
        lines = [f"torch.set_default_device({self.device!r})"]
        if not self.device.startswith("cuda"):
            return lines
        allowed = self.case.float32_precision is Precision.TF32
        if self.case.dtype is DType.FLOAT32:
            places = ("cuda.matmul", "cudnn")
            lines += [f"torch.backends.{place}.allow_tf32 = {allowed}" for place in places]
        return lines + ["torch.backends.cudnn.enabled = False"] * self._uses(Helper.BACKWARD)

    def _write_layers(self) -> list[str]:
        case = self.case
        style, config = case.constructor_style, case.config
        arguments = config.arguments if style.lists_all else config.changed
        evaluated = "" if case.mode is Mode.TRAIN else ".eval()"
        named = self.reference or config.kind_data.qualified_name
        reference = self._write_layer(named, ConstructorStyle.CHANGED)
        return [
            *([f"build = {self.name}"] if self._uses(Helper.BUILD) else []),
            f"config = dict({_write_keywords(arguments)})",
            f"reference = {reference}{evaluated}",
            f"layer = {self._write_layer(self.name, style)}{evaluated}",
            *self._write_weights(),
            *([RENAMED_WEIGHTS] if self._is_renamed else []),
            *([PLACES] if self._is_renamed and self._uses(Helper.PLACE) else []),
        ]

    def _write_layer(self, name: str, style: ConstructorStyle) -> str:
        dtype = f"torch.{self.case.dtype}"
        call = style.write_call(name, dtype, by_position=is_promised("rnn.args.order"))
        is_converted = style.places or self.case.dtype is DType.FLOAT32
        return call if is_converted else f"{call}.to({dtype})"

    def _write_weights(self) -> list[str]:
        if not self.literal:
            # Larger weights forget, and hide errors that the weights of a new layer show.
            is_new = self.case.distribution is Distribution.NEW
            limit = min(self.limit, _round_new_limit(self.case)) if is_new else self.limit
            return [
                f"torch.manual_seed({self.case.seed})",
                "for parameter in reference.parameters():\n"
                f"    torch.nn.init.uniform_(parameter, -{limit}, {limit})",
            ]
        weights = self._values.weights.items()
        entries = "\n".join(f"    {name!r}: {self._write_array(array)}," for name, array in weights)
        return [f"reference.load_state_dict({{\n{entries}\n}})"]

    def _write_array(self, array: Array) -> str:
        return f"torch.tensor({array.tolist()!r}, dtype=torch.{self.case.dtype})"

    @property
    def _time_dim(self) -> int:
        return 1 if self.case.config.batch_first and self.case.is_batched else 0

    @property
    def _input_name(self) -> str:
        return "packed" if self.case.is_packed else "x"

    def _write_arguments(self) -> list[str]:
        case = self.case
        needs_grad = case.grad_mode is GradMode.GRAD and self._uses(Helper.INPUT_GRADIENTS)
        lines = [f"time = {self._time_dim}"] if self._uses(Helper.TIME) else []
        lines += [f"x = {self._write_input()}"]
        axis = case.repeated_axis if case.is_input_expanded else None
        lines += case.memory_layout.write_lines("x", len(case.shape), axis)
        lines += ["x.requires_grad_()"] if needs_grad else []
        if case.is_packed:
            batch_first = case.config.batch_first
            packed = case.layout.pack_code("x", case.lengths, batch_first=batch_first)
            lines += [f"packed = {packed}"]
        if case.initial_state is InitialState.ABSENT:
            return [*lines, f"given = ({self._input_name},)"]
        for name, states in name_initial(case.config, self._values.initial).items():
            state = to_state_layout(case, states)
            lines += [f"{name} = {self._write_state(state)}"]
            axis = find_batch_axis(case) if case.are_states_expanded else None
            lines += case.memory_layout.write_lines(name, state.ndim, axis)
            lines += [f"{name}.requires_grad_()"] if needs_grad else []
        passed = write_states(case.config.kind_data.initial)
        return [*lines, f"given = ({self._input_name}, {passed})"]

    def _write_input(self) -> str:
        if self.literal:
            return self._write_array(to_layout(self.case, self._values.input))
        return _write_random("randn", self.case.shape, self.case)

    def _write_state(self, state: Array) -> str:
        if self.literal:
            return self._write_array(state)
        return _write_random("rand", state.shape, self.case) + " + 0.25"

    @property
    def _uses_before(self) -> tuple[PriorUse, ...]:
        """The uses of the layer before the call, in order."""
        return (*self.case.history, self.case.prior_use)

    def _write_prior_use(self) -> list[str]:
        case, dtype = self.case, f"torch.{self.case.dtype}"
        words = {
            "first": "packed.data" if case.is_packed else "x",
            "input": self._input_name,
            "call": _write_earlier_call("*given", case),
            "other_mode": case.mode is not Mode.TRAIN,
            "mode": case.mode is Mode.TRAIN,
            "dtype": dtype,
            "other_dtype": f"torch.{case.dtype.converted_from}",
            "build": self._write_layer(self.name, ConstructorStyle.CHANGED),
            "entries": self.entries,
            "weights": "renamed.items()" if self._is_renamed else "reference.named_parameters()",
            "place": "*locate(layer, name)" if self._is_renamed else "layer, name",
            "other_place": "*locate(other, name)" if self._is_renamed else "other, name",
        }
        uses = self._uses_before
        is_located = self._is_renamed and any(use.replaces for use in uses)
        lines = (
            use.write_lines(case, words, _write_other_call, is_used=number > 0)
            for number, use in enumerate(uses)
        )
        return [*([LOCATE] if is_located else []), *chain.from_iterable(lines)]

    def _write_helpers(self, tolerance: float) -> list[str]:
        """Return the definitions of the functions that the last lines call."""
        packed = self.case.is_packed
        got, expected = ("data(got)", "data(expected)") if packed else ("got", "expected")
        relative = 0 if self.literal else tolerance
        close = CLOSE.format(
            got=got, expected=expected, tolerance=repr(tolerance), relative=repr(relative)
        )
        return [
            *([DATA] if packed or self._uses(Helper.DATA) else []),
            *([close] if self._uses(Helper.CLOSE) else []),
            *([self._spread] if self._uses(Helper.SPREAD) else []),
            *([RENAMED if self._is_renamed else NAMED] if self._uses(Helper.NAMED) else []),
            *([OTHER_PLACE if self._is_renamed else PLACE] if self._uses(Helper.PLACE) else []),
            *(code for helper, code in OF_STATES.items() if self._uses(helper)),
            *self.functions,
        ]

    @property
    def _spread(self) -> str:
        return SPREAD_STATES if self.case.config.kind_data.has_several_states else SPREAD

    def _write_last_lines(self) -> str:
        if self.case.grad_mode is GradMode.GRAD:
            return self.snippet.code
        indented = textwrap.indent(self.snippet.code, "    ")
        return f"with {self.case.grad_mode.code}:\n{indented}"


def _write_earlier_call(arguments: str, case: Case) -> str:
    """Return the lines of an earlier call, in the gradient mode of the case."""
    if case.grad_mode is GradMode.GRAD:
        return f"layer({arguments})"
    return f"with {case.grad_mode.code}:\n    layer({arguments})"


def _write_other_call(case: Case) -> str:
    """Return the lines of an earlier call on values that the program does not use otherwise."""
    x = _write_random("randn", case.shape, case)
    if case.is_packed:
        x = case.layout.pack_code(x, case.lengths, batch_first=case.config.batch_first)
    if case.initial_state is InitialState.ABSENT:
        return _write_earlier_call(x, case)
    shapes = (
        state_shape(case.config, case.shape, letter) for letter in case.config.kind_data.states
    )
    states = write_states([_write_random("rand", shape, case) for shape in shapes])
    return _write_earlier_call(f"{x}, {states}", case)


def _write_random(function: str, shape: Sequence[int], case: Case) -> str:
    return f"torch.{function}({', '.join(map(str, shape))}).to(torch.{case.dtype})"


def _write_keywords(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
