"""The check of a model built on a recurrent layer: the models' rules over cases of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rnnspec.cases.axes import Feature
from rnnspec.cases.plan import PROFILES, Profile
from rnnspec.cases.space import list_smaller_sizes
from rnnspec.engine.outcome import Finding
from rnnspec.models.case import ModelCase, draw_model_cases
from rnnspec.models.infer import Interface
from rnnspec.models.observation import ModelObservation
from rnnspec.models.program import write_model_program
from rnnspec.rulekit.rule import Rule
from rnnspec.subjects.target import Target

LEAST = {"batch": 2, "steps": 3}
"""Below these the axes cannot be told apart, and a recurrence cannot show."""


class ModelCaseSpace:
    """The space of the cases of a model: the size that is measured, and the sizes that are called one after the other."""

    fields = ("batches", "lengths", "batch", "steps")

    def list_simpler(self, case: ModelCase, name: str) -> list[Any]:
        """Simpler values of one field: smaller sizes, or fewer calls."""
        value = getattr(case, name)
        if name in LEAST:
            return [size for size in list_smaller_sizes(value) if size >= LEAST[name]]
        return [value[:1], value[:2], value[1:]] if len(value) > 1 else []

    def change_field(self, case: ModelCase, name: str, value: Any) -> ModelCase | None:
        """The case with one field at another value, or nothing where batch and steps would be the same."""
        found = replace(case, **{name: value})
        return found if found.batch != found.steps else None

    def reseed(self, case: ModelCase, seed: int) -> ModelCase:
        """The case with other weights and inputs."""
        return replace(case, seed=seed)

    def seed_of(self, case: ModelCase) -> int:
        """Return the seed of weights and inputs."""
        return case.seed

    def list_raised(self, case: ModelCase) -> frozenset[str]:
        """The fields of choice that are not at their simplest value: there is none."""
        return frozenset()

    def total_size(self, case: ModelCase) -> int:
        """The sum of the sizes."""
        return case.batch + case.steps + len(case.batches) + len(case.lengths)

    def describe_field(self, case: ModelCase, name: str) -> str:
        """A field and its value in words."""
        value = getattr(case, name)
        return (
            f"{name} >= {value}"
            if name in LEAST
            else f"{name} {', '.join(map(str, value))} one after the other"
        )


@dataclass(frozen=True)
class ModelSuite:
    """What is run: a model's factory with its arguments, what the model takes and gives, rules, a profile, a seed, a limit on the cases."""

    target: Target
    interface: Interface
    readout: str
    rules: tuple[Rule[ModelCase, ModelObservation], ...]
    profile: Profile = PROFILES["default"]
    seed: int = 0
    device: str = "cpu"
    limit: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    kind: str = "model"

    @property
    def label(self) -> str:
        """What the user calls the model."""
        return self.target.label

    @property
    def space(self) -> ModelCaseSpace:
        """The space of its cases."""
        return ModelCaseSpace()

    @cached_property
    def drawn(self) -> list[ModelCase]:
        """Every case of the check."""
        return draw_model_cases(self.profile.name, self.seed, self.limit)

    @property
    def size(self) -> int:
        """How many case indices there are."""
        return len(self.drawn)

    def cases(self, start: int, stop: int) -> Iterator[tuple[int, ModelCase]]:
        """The cases with an index in [start, stop)."""
        return iter(list(enumerate(self.drawn))[start:stop])

    def observe(self, case: ModelCase) -> ModelObservation:
        """The model under trial in a case."""
        return ModelObservation(self._built, self.interface, self.readout, case, self.device)

    def find_obstacle(self, rule: Rule[ModelCase, ModelObservation]) -> str:
        """Nothing: every rule can be reached in every case, and says itself where it does not apply."""
        return ""

    def describe_case(self, case: ModelCase) -> dict[str, Any]:
        """A case as data."""
        takes = (
            f"token ids below {self.interface.vocabulary}"
            if self.interface.takes_tokens
            else f"features {self.interface.features}"
        )
        return {
            "configuration": dict(self.arguments),
            "sizes": {
                "batch": case.batch,
                "steps": case.steps,
                "batches": list(case.batches),
                "lengths": list(case.lengths),
            },
            "call": {
                "input": takes,
                "readout": self.readout,
                "batch_first": str(self.interface.batch_first),
            },
            "seed": case.seed,
            "text": str(case),
        }

    def write_program(self, finding: Finding[ModelCase]) -> str:
        """A stand-alone program that fails for the model and passes for a sound one."""
        case: Any = finding.case
        return write_model_program(
            case,
            finding.snippet,
            self.interface,
            self.target.imports,
            self.target.name,
            self.arguments,
            self.device,
        )

    def _built(self) -> Any:
        return self.target.factory(**self.arguments)
