"""A suite without torch, for tests of the engine and of the diagnosis.

A case has one size and four choices, a layer is a few functions of a case, and rules query these
functions. A test therefore controls exactly which faults there are, and runs in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import Condition
from rnnspec.cases.plan import PROFILES, Profile
from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.faults import find_faults
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.explanations import LikelyCause, Program
from rnnspec.engine.outcome import Finding, Progress
from rnnspec.options import SizeSource
from rnnspec.report.data import Report
from rnnspec.rulekit.rule import ESTABLISHED, PRESUPPOSED, Fact, Rule, Theme
from rnnspec.rulekit.violation import ErrorSize, Violation
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.subjects.failures import Failure, Raised

CHOICES: dict[str, tuple[str, ...]] = {
    "batch_first": ("False", "True"),
    "bidirectional": ("False", "True"),
    "mode": ("eval", "train"),
    "prior_use": ("fresh", "pickled"),
}
CLAUSES = {rule.level: rule.clauses for rule in list_layer_rules()}
FEATURES = {"batch_first": Feature.BATCH_FIRST, "bidirectional": Feature.BIDIRECTIONAL}


@dataclass(frozen=True)
class ToyCase:
    """A case; the first value of each choice is the simplest."""

    steps: int = 1
    batch_first: str = "False"
    bidirectional: str = "False"
    mode: str = "eval"
    prior_use: str = "fresh"
    seed: int = 0


Question = Callable[[ToyCase], bool]


def never(case: ToyCase) -> bool:
    """Return False."""
    return False


@dataclass(frozen=True)
class ToyLayer:
    """The behaviour of a layer in each case.

    stopped          the exception that the call raises, if it raises one
    wrong            whether output and h_n are wrong
    wrong_gradients  whether a gradient is wrong
    own              by rule, whether what only this rule looks at is wrong
    own_stopped      by rule, the exception that what only this rule does raises
    interrupted      whether the user interrupts the run
    """

    stopped: Callable[[ToyCase], str] = lambda case: ""
    wrong: Question = never
    wrong_gradients: Question = never
    own: Mapping[str, Question] = field(default_factory=dict)
    own_stopped: Mapping[str, Callable[[ToyCase], str]] = field(default_factory=dict)
    interrupted: Question = never


MADE: ContextVar[list[ToyObservation] | None] = ContextVar("made", default=None)


class ToyObservation:
    """The observation of a toy layer in a case."""

    def __init__(self, layer: ToyLayer, case: ToyCase) -> None:
        self.layer, self.case = layer, case
        made = MADE.get()
        if made is not None:
            made.append(self)

    def surroundings(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def call(self) -> None:
        """Call the layer, which may raise."""
        if self.layer.interrupted(self.case):
            raise KeyboardInterrupt
        message = self.layer.stopped(self.case)
        if message:
            raise Raised("the call", RuntimeError(message))


def check_results(observation: ToyObservation) -> None:
    """Raise Violation if the results are wrong."""
    observation.call()
    if observation.layer.wrong(observation.case):
        raise Violation("h_n is 2; expected 1")


def check_gradients(observation: ToyObservation) -> None:
    """Raise Violation if a gradient, or a result on which it rests, is wrong."""
    check_results(observation)
    if observation.layer.wrong_gradients(observation.case):
        raise Violation("the gradient is 2; expected 1")


def check_only_call(observation: ToyObservation) -> None:
    """Call the layer, and look at nothing that it returns."""
    observation.call()


def make_rule(
    id: str,
    check: Callable[[ToyObservation], None] = check_results,
    *,
    when: Question = lambda case: True,
    about: Collection[str] = (),
    level: Level = Level.MUST,
    part: Part | None = None,
    presupposes: Collection[Fact | str] = (),
    establishes: Collection[Fact] | None = None,
) -> Rule[ToyCase, ToyObservation]:
    """Return a rule that also checks a property that no other rule checks."""

    def check_all(observation: ToyObservation) -> None:
        check(observation)
        stop = observation.layer.own_stopped.get(id)
        message = stop(observation.case) if stop is not None else ""
        if message:
            raise Raised("the constructor", ValueError(message))
        if observation.layer.own.get(id, never)(observation.case):
            raise Violation(f"{id} does not hold")

    theme = Theme(id.partition(".")[0])
    chosen = part or theme.part
    established = ESTABLISHED[chosen] if establishes is None else establishes
    return Rule(
        id,
        theme,
        CLAUSES[level],
        Condition("some cases", when),
        frozenset(),
        check_all,
        f"{id} holds.",
        "It is checked.",
        "faults.",
        chosen,
        frozenset(about),
        PRESUPPOSED.get(chosen, frozenset()).union(presupposes),
        frozenset(established),
    )


class ToySpace:
    """The space of toy cases."""

    fields = ("steps", *CHOICES)

    def list_simpler(self, case: ToyCase, name: str) -> list[Any]:
        """Return simpler values of one field, the largest steps first."""
        if name == "steps":
            return list(range(1, case.steps))
        value = getattr(case, name)
        return [CHOICES[name][0]] if value != CHOICES[name][0] else []

    def list_others(self, case: ToyCase, name: str) -> list[Any]:
        """Return other values of a choice that has its simplest value."""
        if name == "steps" or getattr(case, name) != CHOICES[name][0]:
            return []
        return list(CHOICES[name][1:])

    def is_covered(self, case: ToyCase, by: ToyCase, names: Collection[str]) -> bool:
        """Return whether a case has the values of another in the named fields, or a larger size."""
        return all(
            case.steps >= by.steps if name == "steps" else getattr(case, name) == getattr(by, name)
            for name in names
        )

    def has_other_size(self, case: ToyCase, other: ToyCase, name: str) -> bool:
        """Return whether a field is a size that differs between two cases."""
        return name == "steps" and case.steps != other.steps

    def change_field(self, case: ToyCase, name: str, value: Any) -> ToyCase | None:
        """Return the case with another value of one field."""
        return replace(case, **{name: value})

    def keeps_rest(self, case: ToyCase, changed: ToyCase, name: str) -> bool:
        """Return True: a change of one field changes no other."""
        return True

    def change_equal_sizes(self, case: ToyCase, name: str, value: Any) -> ToyCase | None:
        """Return None: the sizes of a toy case do not depend on each other."""
        return None

    def list_other_dtypes(self, case: ToyCase) -> list[ToyCase]:
        return []

    def exchange_sizes(self, case: ToyCase) -> list[ToyCase]:
        """Return nothing: a toy case has one size."""
        return []

    def spread_sizes(self, case: ToyCase) -> ToyCase | None:
        """Return None: the sizes of a toy case do not depend on each other."""
        return None

    def enlarge(self, case: ToyCase) -> ToyCase:
        """Return the case, which is the whole description."""
        return case

    def reseed(self, case: ToyCase, seed: int) -> ToyCase:
        """Return the case with another seed."""
        return replace(case, seed=seed)

    def get_seed(self, case: ToyCase) -> int:
        """Return the seed."""
        return case.seed

    def list_raised(self, case: ToyCase) -> frozenset[str]:
        """Return the choices that do not have their simplest value."""
        return frozenset(name for name in CHOICES if getattr(case, name) != CHOICES[name][0])

    def list_usual(self, case: ToyCase) -> frozenset[str]:
        """Return nothing."""
        return frozenset()

    def measure_size(self, case: ToyCase) -> int:
        """Return the size."""
        return case.steps

    def describe_field(self, case: ToyCase, name: str) -> str:
        """Return a field and its value in words."""
        return f"{name} {'>=' if name == 'steps' else '='} {getattr(case, name)}"


@dataclass(frozen=True)
class ToySuite:
    """A suite for a toy layer.

    `cause` is what `find_likely_cause` returns. `asked` has the cases that it was asked about, and
    `compared` those in which the fault was gone. `can_cause` says in which cases it does anything.
    `cases` are its cases, if they are not drawn.
    """

    layer: ToyLayer
    rules: tuple[Rule[ToyCase, ToyObservation], ...]
    drawn: int = 60
    seed: int = 0
    cause: LikelyCause | None = None
    can_cause: Callable[[ToyCase], bool] = lambda case: True
    mistaken: ToyLayer | None = None
    asked: list[tuple[ToyCase, ...]] = field(default_factory=list)
    compared: list[tuple[ToyCase, ...]] = field(default_factory=list)
    cases: tuple[ToyCase, ...] = ()
    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    profile: Profile = PROFILES["quick"]
    label: str = "toy"
    kind: str = "rnn"
    device: str = "cpu"
    sizes: SizeSource = SizeSource.FREE
    remarks: tuple[str, ...] = ()

    @property
    def facts(self) -> ToySuite:
        """Finds the facts that do not hold."""
        return self

    @property
    def size(self) -> int:
        """The number of its cases."""
        return len(self.cases) or self.drawn

    @property
    def is_limited(self) -> bool:
        """Whether it has fewer cases than it could have."""
        return False

    @property
    def space(self) -> ToySpace:
        """The space of its cases."""
        return ToySpace()

    def draw_cases(self, start: int, stop: int | None) -> Iterator[tuple[int, ToyCase]]:
        """Yield the cases with an index in [start, stop)."""
        if self.cases:
            yield from list(enumerate(self.cases))[start:stop]
            return
        for index in range(start, self.size if stop is None else min(stop, self.size)):
            random = Random(f"{self.seed}, {index}")
            chosen = {name: random.choice(values) for name, values in CHOICES.items()}
            yield index, ToyCase(random.randint(1, 6), **chosen, seed=random.randint(0, 99))

    def observe(self, case: ToyCase) -> ToyObservation:
        """Return the observation of the layer in a case."""
        return ToyObservation(self.layer, case)

    @contextmanager
    def collect_observations(self) -> Iterator[list[ToyObservation]]:
        """Collect the observations that are made in this context."""
        made: list[ToyObservation] = []
        token = MADE.set(made)
        try:
            yield made
        finally:
            MADE.reset(token)

    def list_sizes(self, case: ToyCase, passed: Collection[str]) -> dict[str, int]:
        """Return nothing: a toy has no sizes that a report names."""
        return {}

    def find_broken_facts(
        self, observation: ToyObservation, *, with_gradients: bool = False
    ) -> dict[Fact, ToyCase]:
        """Return the first fact that does not hold."""
        layer, case = self.layer, observation.case
        if self.find_blocker(observation) is not None:
            return {Fact.CALL: case}
        if layer.wrong(case):
            return {Fact.RESULTS: case}
        return {Fact.GRADIENTS: case} if with_gradients and layer.wrong_gradients(case) else {}

    def find_blocker(self, observation: ToyObservation) -> Failure | None:
        """Return the blocker of the call."""
        try:
            observation.call()
        except Failure as failure:
            return failure
        return None

    def find_wrong_results(self, observation: ToyObservation) -> ToyCase | None:
        """Return the case of an observation if its results are wrong, or if there are none."""
        return observation.case if self.find_broken_facts(observation) else None

    def find_likely_cause(self, query: CauseQuery[ToyObservation]) -> LikelyCause | None:
        """Return the cause that the test gave."""
        self.asked.append(tuple(each.case for each in query.failing))
        self.compared.append(tuple(each.case for each in query.passing))
        return self.cause

    def find_cause_of_calls(
        self,
        rule: Rule[ToyCase, ToyObservation],
        failing: Iterable[ToyObservation],
        known: Collection[LikelyCause] = (),
    ) -> LikelyCause | None:
        """Return None: what a toy rule calls has no cause."""
        return None

    def find_obstacle(self, rule: Rule[ToyCase, ToyObservation]) -> str:
        """Return an empty string: no rule is kept from its cases."""
        return ""

    def describe_case(self, case: ToyCase) -> dict[str, Any]:
        """Return a case as data."""
        call = {name: getattr(case, name) for name in CHOICES}
        sizes = {"steps": case.steps, "batch": 1, "lengths": []}
        return {
            "configuration": {},
            "sizes": sizes,
            "call": call,
            "seed": case.seed,
            "text": str(case),
        }

    def is_explained(
        self,
        cause: LikelyCause,
        observation: ToyObservation,
        *,
        gradients: bool = False,
    ) -> bool | None:
        """Return None: the cause that the test gave predicts nothing."""
        return None

    def can_explain(self, cause: LikelyCause, case: ToyCase) -> bool:
        """Return whether the cause that the test gave has to do with a case."""
        return self.can_cause(case)

    def arrange_results(self) -> ToySuite:
        return self

    def make_mistaken(
        self, causes: Sequence[LikelyCause], case: ToyCase, *, gradients: bool = False
    ) -> ToySuite | None:
        """Return the suite with the layer that makes only the mistake, if the test gave one."""
        return None if self.mistaken is None else replace(self, layer=self.mistaken)

    def measure_error(
        self,
        observation: ToyObservation,
        *,
        gradients: bool = False,
    ) -> ErrorSize | None:
        """Return None: no result of a toy is known to be wrong by itself."""
        return None

    def find_misreturned(self, observation: ToyObservation) -> str:
        """Return an empty string: no result of a toy is known to be wrong by itself."""
        return ""

    def name_feature(self, case: ToyCase, names: Collection[str]) -> str:
        """Return the feature that a case needs because of one of these fields."""
        needed = [name for name in FEATURES if name in names and getattr(case, name) == "True"]
        return FEATURES[needed[0]].text if needed else ""

    def write_program(self, finding: Finding[ToyCase]) -> Program:
        """Return that there is no program."""
        return Program(missing="a toy has no program")

    def find_faults(
        self,
        progress: Progress[ToyCase],
        *,
        until: Collection[Level] = (),
        remark: Callable[[str], object] = tuple,
        watch: Watcher | None = None,
    ) -> list[Fault[ToyCase]]:
        """Return the faults behind the failing cases."""
        return find_faults(self, progress, until=until, remark=remark, watch=watch)

    def complete_report(self, report: Report) -> Report:
        """Return the report as it is."""
        return report


def make_suite(layer: ToyLayer, *rules: Rule[ToyCase, ToyObservation], **options: Any) -> ToySuite:
    """Return a suite of a toy layer."""
    return ToySuite(layer, rules, **options)
