"""The search for a case that fulfils a condition, complete over all axes.

A condition is any function of a case. The search calls it with a case that has no values yet. When
the condition reads a field, the search tries every value of it that the scope and the constraints
allow. It thus tries only choices that the condition depends on, and if it finds no case, none
exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from random import Random  # here, so that a subject that replaces it changes no case
from typing import Any

from rnnspec.cases.axes import AXES, PLAIN_CALLS, Projection
from rnnspec.cases.case import Case, list_constraints
from rnnspec.cases.covering import Codes, ConstrainedAxes, list_allowed
from rnnspec.cases.drawing import make_case
from rnnspec.cases.plan import Scope
from rnnspec.cases.sizes import BEYOND_BLOCKS, DIMENSIONS, REAL_SIZES, list_pool_lengths
from rnnspec.cases.space import USUAL_DROPOUT
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS

CaseTest = Callable[[Case], bool]
Domains = Mapping[str, tuple[Any, ...]]
"""The values of each axis that may be chosen."""
SIZES: Domains = {
    "input_size": (3, 4, 1, 33),
    "hidden_size": (4, 3, 1, 33),
    "steps": (3, 1, 2, 33),
    "batch": (2, 3, 1, 33),
    "seed": tuple(range(12)),
    "history": ((), (PLAIN_CALLS,)),
}
"""The sizes and histories to try. No feature restricts them, so a few are enough."""
SIZES_OF_CASES = ("input_size", "hidden_size", "proj_size", "steps", "batch")
EQUAL, DIFFERENT = "equal", "different"
"""Whether the lengths of a packed batch are equal."""
CONFIG_FIELDS = frozenset(each.name for each in fields(Config))
CASE_FIELDS = frozenset(each.name for each in fields(Case)) - {"config"}


class _Undecided(Exception):
    """The condition read a field that has no value yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class _Decisions:
    """The values chosen so far: values of axes and sizes by name, and whether lengths are equal.

    The axes `dropout` and `proj_size` have choices, whereas the configuration has numbers.
    """

    known: Mapping[str, Any]
    kind: str

    def read(self, name: str) -> Any:
        """Return the chosen value of a name. Raises _Undecided if there is none."""
        if name not in self.known:
            raise _Undecided(name)
        return self.known[name]

    def look_up(self, name: str) -> Any:
        """Return the value of a field of a case or a configuration. Raises _Undecided."""
        return getattr(self, name) if name in DERIVED else self.read(name)

    @property
    def steps(self) -> int:
        return 1 if KINDS[self.kind].is_cell else int(self.read("steps"))

    @property
    def batch(self) -> int:
        return int(self.read("batch")) if self.read("layout").is_batched else 1

    @property
    def dropout(self) -> float:
        probability = self.read("dropout").probability
        return USUAL_DROPOUT if probability is None else float(probability)

    @property
    def hidden_size(self) -> int:
        least = 1 if self.read("proj_size") is Projection.NONE else 2
        return max(least, int(self.read("hidden_size")))

    @property
    def proj_size(self) -> int:
        return 0 if self.read("proj_size") is Projection.NONE else self.hidden_size - 1

    @property
    def lengths(self) -> tuple[int, ...]:
        if not self.read("layout").is_packed:
            return ()
        is_equal = self.read("lengths") == EQUAL
        size = self.steps, self.batch
        found = size[:1] * size[1] if is_equal else list_pool_lengths(*size)
        return tuple(sorted(found, reverse=True)) if self.read("layout").is_sorted else found


DERIVED = ("kind", "steps", "batch", "dropout", "hidden_size", "proj_size", "lengths")
"""The fields that are computed from choices of another name or type."""


class _PartialConfig(Config):
    """A configuration whose fields are looked up when they are read."""

    def __init__(self, decided: _Decisions) -> None:
        object.__setattr__(self, "decided", decided)

    def __getattribute__(self, name: str) -> Any:
        if name in CONFIG_FIELDS:
            return object.__getattribute__(self, "decided").look_up(name)
        # `dataclasses.replace` makes a complete configuration.
        return Config if name == "__class__" else object.__getattribute__(self, name)


class _PartialCase(Case):
    """A case whose fields are looked up when they are read."""

    def __init__(self, decided: _Decisions) -> None:
        object.__setattr__(self, "decided", decided)
        object.__setattr__(self, "config", _PartialConfig(decided))

    def __getattribute__(self, name: str) -> Any:
        if name in CASE_FIELDS:
            return object.__getattribute__(self, "decided").look_up(name)
        return Case if name == "__class__" else object.__getattribute__(self, name)

    def get_choice(self, name: str) -> Any:
        """Return the choice on an axis directly, not by way of the number that it stands for."""
        decided: _Decisions = object.__getattribute__(self, "decided")
        return decided.read(name)


@dataclass(frozen=True)
class CaseSearch:
    """The search for cases of one kind of layer.

    domains  the values of each axis that may be chosen
    kind     the kind of layer
    seed     chooses among the cases that fulfil a condition
    """

    domains: Domains
    kind: str
    seed: int = 0
    _allowed: ConstrainedAxes = field(init=False, repr=False)
    _names: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", [axis.name for axis in AXES])
        ordered = {name: self.domains[name] for name in self._names}
        object.__setattr__(self, "_allowed", list_allowed(ordered, list_constraints(self.kind)))

    def find(self, holds: CaseTest) -> Case | None:
        """Return a case for which a condition holds, or None if there is none."""
        found = next(self._search(holds, {}, self._allowed.codes), None)
        return None if found is None else self._complete(*found)

    def can_hold(self, holds: CaseTest) -> bool:
        """Return whether there is a case for which a condition holds.

        Unlike `find`, you can also use it if the domains contain values that the kind of layer
        lacks.
        """
        return next(self._search(holds, {}, self._allowed.codes), None) is not None

    def _search(
        self, holds: CaseTest, known: dict[str, Any], codes: Codes
    ) -> Iterator[tuple[dict[str, Any], Codes]]:
        """Yield choices with which a condition holds, whatever the values of the other fields.

        Each comes with the combinations of the constrained axes that are left.
        """
        try:
            found = holds(_PartialCase(_Decisions(known, self.kind)))
        except _Undecided as undecided:
            name = undecided.name
            for value in self._list_values(name):
                left = self._select(codes, name, value)
                if len(left):
                    yield from self._search(holds, {**known, name: value}, left)
        else:
            if found:
                yield known, codes

    def _list_values(self, name: str) -> list[Any]:
        values = [*self.domains.get(name, SIZES.get(name, (DIFFERENT, EQUAL)))]
        if self.seed:
            Random(f"{self.seed} {name}").shuffle(values)
        # Large sizes make a case cost more, so they come last.
        largest = [max(sizes[name] for sizes in REAL_SIZES)] if name in DIMENSIONS else []
        return [*values, *BEYOND_BLOCKS.get(name, ()), *largest]

    def _select(self, codes: Codes, name: str, value: Any) -> Codes:
        """Return the combinations of the constrained axes in which an axis has a value."""
        axis = self._names.index(name) if name in self._names else None
        if axis not in self._allowed.axes:
            return codes
        column = self._allowed.axes.index(axis)
        left: Codes = codes[codes[:, column] == self.domains[name].index(value)]
        return left

    def _complete(self, known: Mapping[str, Any], codes: Codes) -> Case:
        """Return a case with these choices; the seed chooses the rest."""
        rng = Random(self.seed)
        place = rng.randrange(len(codes)) if self.seed else 0
        row = {
            name: rng.choice(values) if self.seed else values[0]
            for name, values in self.domains.items()
        }
        chosen = codes[place]
        for column, axis in enumerate(self._allowed.axes):
            name = self._names[axis]
            row[name] = self.domains[name][int(chosen[column])]
        decided = _Decisions(
            {
                **{name: values[0] for name, values in SIZES.items()},
                "lengths": DIFFERENT,
                **row,
                **known,
            },
            self.kind,
        )
        row = {name: decided.read(name) for name in self._names} | {"kind": self.kind}
        sizes = {name: decided.look_up(name) for name in SIZES_OF_CASES}
        case = make_case(row, sizes, decided.dropout)
        rest = {name: decided.read(name) for name in ("seed", "history")}
        return case.replace(**rest, lengths=decided.lengths)


def list_domains(scope: Scope) -> dict[str, tuple[Any, ...]]:
    """Return the values of each axis within a scope that are combined with values of other axes."""
    return {axis.name: scope.list_drawn(axis) for axis in AXES}


def make_search(domains: Domains, kind: str, seed: int = 0) -> CaseSearch:
    """Return the search for cases of a kind of layer whose axes have these values."""
    return _keep_search(tuple(domains.items()), kind, seed)


@lru_cache(maxsize=512)
def _keep_search(
    domains: tuple[tuple[str, tuple[Any, ...]], ...], kind: str, seed: int
) -> CaseSearch:
    return CaseSearch(dict(domains), kind, seed)
