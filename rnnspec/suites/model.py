"""The suite for a model: the rules about models, and their cases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from rnnspec.cases.axes import Feature
from rnnspec.cases.plan import PROFILES, Profile
from rnnspec.contract.clauses import Level
from rnnspec.diagnosis.fault import Fault
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.explanations import Program
from rnnspec.engine.outcome import Finding, Progress
from rnnspec.models.building.values import describe_arguments, list_needed_names, make_arguments
from rnnspec.models.case import ModelCase, ModelCaseSpace, draw_model_cases
from rnnspec.models.forms import Readout
from rnnspec.models.infer import Interface
from rnnspec.models.observation import ModelObservation
from rnnspec.models.program import write_model_program
from rnnspec.options import SizeSource
from rnnspec.readout.assumption import Assumption
from rnnspec.readout.map import ReadoutMap
from rnnspec.report.data import Report
from rnnspec.report.model import ModelReport
from rnnspec.rulekit.rule import Rule
from rnnspec.subjects.location import find_location
from rnnspec.subjects.steps import (
    USING_RESULTS,
    Interrupted,
    announce_case,
    announce_step,
    is_from_user,
)
from rnnspec.subjects.target import Target
from rnnspec.suites.model_faults import find_model_faults

READING = (
    "model.samples-independent",
    "model.causal",
    "model.sees-both-directions",
    "model.gradients-reach",
)
"""The rules, besides the read-out rules, about the inputs of a prediction."""

PORTABILITY = (
    "model.state-device",
    "model.any-device",
    "model.state-dtype",
    "model.float64",
    "model.vocabulary",
)
"""The rules about devices, dtypes and data other than the model was written for."""


def make_model_report(
    report: Report,
    readouts: Mapping[str, ReadoutMap | None],
    inferred: tuple[str, ...],
    assumptions: tuple[Assumption, ...],
) -> ModelReport:
    """Return the report of a run as the report on a model.

    The last three arguments are fields of `ModelReport`.
    """
    known = {each.name: getattr(report, each.name) for each in fields(Report)}
    known["faults"] = tuple(sorted(report.faults, key=lambda fault: rank_fault(fault.rule)))
    return ModelReport(**known, readouts=readouts, inferred=inferred, assumptions=assumptions)


def rank_fault(rule: str) -> int:
    """Return the rank of a fault in the report: reading, then failures, then portability."""
    if rule in PORTABILITY:
        return 2
    return 0 if rule.startswith("readout.") or rule in READING else 1


UNMEASURED = "the read-out was not measured, because the run was ended early"


@dataclass(frozen=True)
class ModelSuite:
    """The rules about models for a model, and the cases on which they check it.

    `target` is called with `arguments` to build the model; arguments that rnnspec chose are
    expressions. `interface` describes the inputs of the model, and `readout` how often it makes its
    first prediction. `limit` replaces the number of cases of the profile. `inferred` describes how
    the calls and the interface were found. Measured read-out maps are kept, because cases share
    them, and the report shows the first map of each prediction. Rules about models presuppose no
    facts, and raise NotApplicable if they do not apply.
    """

    target: Target
    interface: Interface
    readout: Readout
    rules: tuple[Rule[ModelCase, ModelObservation], ...]
    profile: Profile = PROFILES["default"]
    seed: int = 0
    device: str = "cpu"
    limit: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inferred: tuple[str, ...] = ()
    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    kind: str = "model"
    sizes: SizeSource = SizeSource.FREE
    remarks: tuple[str, ...] = ()
    facts: None = None
    find_obstacle: None = None
    maps: dict[ModelCase, ReadoutMap] = field(default_factory=dict, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The user's name of the model."""
        return self.target.label

    @property
    def space(self) -> ModelCaseSpace:
        """The space of its cases."""
        sizes = {"batch": self.interface.batch, "steps": self.interface.steps}
        return ModelCaseSpace(
            frozenset(name for name, size in sizes.items() if size is not None),
            tuple(interface.call.expression for interface, _ in self.predictions),
            self.interface.least_steps,
            self.interface.measured_steps,
        )

    @cached_property
    def predictions(self) -> list[tuple[Interface, Readout]]:
        """The interface of each prediction that a call makes, and how often it is made."""
        return self.interface.list_predictions(self.readout)

    @cached_property
    def all_cases(self) -> list[ModelCase]:
        """Every case of the check."""
        return draw_model_cases(
            self.profile.name,
            self.seed,
            self.limit,
            batch=self.interface.batch,
            steps=self.interface.steps,
            predictions=len(self.predictions),
            least_steps=self.interface.least_steps,
            measured_steps=self.interface.measured_steps,
        )

    @property
    def size(self) -> int:
        """The number of cases."""
        return len(self.all_cases)

    @property
    def is_limited(self) -> bool:
        """Whether the user wants fewer cases than its plan has; no rule about models uses it."""
        return self.limit is not None

    def draw_cases(self, start: int, stop: int | None) -> Iterator[tuple[int, ModelCase]]:
        """Return the cases with an index in [start, stop), with their index."""
        return iter(list(enumerate(self.all_cases))[start:stop])

    def observe(self, case: ModelCase) -> ModelObservation:
        """Return the observation of the model in a case."""
        announce_case(case)
        interface, readout = self.predictions[case.prediction]
        return ModelObservation(self._build_model, interface, readout, case, self.device, self.maps)

    def describe_case(self, case: ModelCase) -> dict[str, Any]:
        """Return a case as data: configuration, sizes, call, seed and text."""
        interface, readout = self.predictions[case.prediction]
        takes = (
            f"token ids below {self.interface.vocabulary}"
            if self.interface.takes_tokens
            else f"{self.interface.features} features"
        )
        return {
            "configuration": describe_arguments(self.arguments),
            "sizes": {
                "batch": case.batch,
                "steps": case.steps,
                "batches": list(case.batches),
                "lengths": list(case.lengths),
            },
            "call": {
                "input": takes,
                "expression": interface.call.expression,
                "readout": readout.value,
                "batch_first": str(self.interface.batch_first),
            },
            "seed": case.seed,
            "text": str(case),
        }

    def write_program(self, finding: Finding[ModelCase]) -> Program:
        """Return a program that fails for the model and passes for a correct one."""
        source = write_model_program(
            finding.case,
            finding.snippet,
            self.predictions[finding.case.prediction][0],
            (*self.target.imports, *self._list_imports()),
            self.target.name,
            self.arguments,
            self.device,
        )
        return Program(source)

    def find_faults(
        self,
        progress: Progress[ModelCase],
        *,
        until: Collection[Level] = (),
        remark: Callable[[str], object] = tuple,
        watch: Watcher | None = None,
    ) -> list[Fault[ModelCase]]:
        """Return the faults of the failing cases: one for each rule or failure.

        All of them are found, whatever their levels are.
        """
        return find_model_faults(self, progress, remark=remark, watch=watch)

    def complete_report(self, report: Report) -> ModelReport:
        """Return the report on a model, with the read-out map of each prediction.

        A prediction that cannot be measured has no map. If the run is ended early, none has.
        """
        found: dict[str, ReadoutMap | None] = dict.fromkeys(self.space.predictions)
        try:
            for index, expression in enumerate(self.space.predictions):
                case = replace(self.all_cases[0], prediction=index)
                found[expression] = self._measure_readout(case)
        except Interrupted:
            report = replace(report, notes=(*report.notes, UNMEASURED))
        report = replace(report, location=find_location(self.target.factory))
        return make_model_report(report, found, self.inferred, self.interface.assumptions)

    def _measure_readout(self, case: ModelCase) -> ReadoutMap | None:
        observation = self.observe(case)
        try:
            with announce_step(USING_RESULTS), observation.surroundings():
                return observation.readout_map
        except BaseException as error:  # the rules report the error
            if is_from_user(error):
                raise
            return None

    def _list_imports(self) -> list[str]:
        """Return the imports of a program besides the target, for the chosen arguments."""
        modules, others = list_needed_names(self.arguments)
        return [*(f"import {name}" for name in modules), *self.target.import_others(others)]

    def _build_model(self) -> Any:
        return self.target.factory(**make_arguments(self.arguments))
