"""Plant a single change in a correct layer, and count the changed layers that a check misses.

Each mutant is checked in its own process, which imports the changed module from a temporary file,
so that `inspect.getsource` returns the changed text. The check ends with the first case that breaks
a rule, and does not search for faults. A mutant that passes is compared with the layer itself in
random uses.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

from rnnspec.api.layer import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.contract.clauses import Level
from rnnspec.engine.campaign import Watcher, run_campaign
from rnnspec.engine.outcome import FindingKind, Progress
from rnnspec.errors import CannotCheck, SelectionError, TargetError
from rnnspec.options import CheckOptions, check_integer, ignore_clock, select_ids
from rnnspec.selftest.differences import NamedLayer, find_difference
from rnnspec.selftest.mutants import Mutant, list_bound_names, list_mutants, sample_mutants
from rnnspec.selftest.mutate import OPERATOR_NAMES
from rnnspec.selftest.processes import ProcessCall, Processes, Send
from rnnspec.selftest.uses import Use
from rnnspec.subjects.devices import keep_random_numbers
from rnnspec.subjects.target import resolve_target
from rnnspec.suites.layer import LayerSuite

SCHEMA = "rnnspec-mutation-1"
LEVELS = (Level.MUST, Level.SHOULD)
MOST_RULES = 8
"""How many of the rules that detect most mutants are shown."""
DEFAULT_MUTANTS, DEFAULT_USES, DEFAULT_LIMIT = 100, 300, 300.0


class MutantOutcome(Enum):
    """The outcome of checking a mutant."""

    DETECTED = "detected"
    REFUSED = "refused"
    INVALID = "invalid"
    STOPPED = "stopped"
    EQUIVALENT = "equivalent"
    SURVIVOR = "survivor"
    ERROR = "error"

    @property
    def is_noticed(self) -> bool:
        """Whether the user of a check notices the mutant."""
        return self in (MutantOutcome.DETECTED, MutantOutcome.REFUSED, MutantOutcome.STOPPED)


MEANINGS = {
    MutantOutcome.DETECTED: "a rule fails",
    MutantOutcome.REFUSED: "a feature is refused, or a rule is not reached any more",
    MutantOutcome.STOPPED: "it ends the process, or the check does not end in time",
    MutantOutcome.INVALID: "it cannot be imported or built",
    MutantOutcome.EQUIVALENT: "it agrees with the layer in all uses, and no checked rule fails",
    MutantOutcome.SURVIVOR: "no rule fails, but it differs from the layer",
    MutantOutcome.ERROR: "a rule itself raised an exception",
}


@dataclass(frozen=True)
class MutationOptions:
    """Options: how many mutants are drawn, how they are checked, and how survivors are compared.

    mutants    the number of mutants to draw
    uses       the number of random uses that compare a survivor with the layer
    limit      the time limit of a mutant, in seconds
    jobs       the number of processes; with 0, everything runs in this process
    operators  patterns that select operators by name
    differing  whether to check only mutants that differ in a use
    """

    check: CheckOptions
    mutants: int = DEFAULT_MUTANTS
    uses: int = DEFAULT_USES
    limit: float = DEFAULT_LIMIT
    jobs: int = 1
    operators: tuple[str, ...] = ()
    differing: bool = False


@dataclass(frozen=True)
class Original:
    """The layer to change: the location of its source, and the results of its check.

    source   a hash of the text of the module
    departs  the rules of level SHOULD that it breaks
    reached  the rules that were reached
    lacks    the features that it does not offer
    """

    target: str
    module: str
    name: str
    path: str
    source: str
    kind: str
    departs: frozenset[str]
    reached: frozenset[str]
    lacks: frozenset[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the layer as data for JSON."""
        sets = {name: sorted(getattr(self, name)) for name in ("departs", "reached", "lacks")}
        return {**vars(self), **sets}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Original:
        """Return the layer that `as_dict` stored."""
        sets = {name: frozenset(data[name]) for name in ("departs", "reached", "lacks")}
        return cls(**{**data, **sets})

    @property
    def is_file(self) -> bool:
        """Whether the target names a file."""
        return self.target.rpartition(":")[0].endswith(".py")


@dataclass(frozen=True)
class MutantResult:
    """The result of a mutant.

    rule     the rule that fails
    message  its message, or why nothing could be checked
    use      the smallest use that distinguishes a survivor from the layer
    """

    key: str
    operator: str
    line: int
    before: str
    after: str
    outcome: MutantOutcome
    rule: str = ""
    message: str = ""
    use: str = ""
    seconds: float = field(default=0.0, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
        return {**asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MutantResult:
        """Return the result that `as_dict` stored."""
        known = {each.name: data[each.name] for each in fields(cls)}
        return cls(**{**known, "outcome": MutantOutcome(data["outcome"])})


@dataclass(frozen=True)
class Mutation:
    """The results of a run; `total` is the number of mutants from which they were drawn."""

    target: str
    kind: str
    profile: str
    seed: int
    total: int
    uses: int
    results: tuple[MutantResult, ...]
    stopped: bool = False

    @property
    def survivors(self) -> tuple[MutantResult, ...]:
        """The mutants that no rule detects although they differ from the layer."""
        return tuple(each for each in self.results if each.outcome is MutantOutcome.SURVIVOR)

    def count(self) -> Counter[MutantOutcome]:
        """Return how many mutants had each outcome."""
        return Counter(each.outcome for each in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Return the run as JSON-compatible data."""
        data = {each.name: getattr(self, each.name) for each in fields(self)}
        counts = {outcome.value: number for outcome, number in self.count().items()}
        results = [each.as_dict() for each in self.results]
        return {"schema": SCHEMA, **data, "counts": counts, "results": results}


class _Finder(MetaPathFinder):
    """Finds a module in another file."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's specification with the other file, or None for other modules."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path)


@contextmanager
def plant(original: Original, path: Path) -> Iterator[NamedLayer]:
    """Return a context where a file replaces the module of a layer; it yields the layer.

    Raises TargetError if the module cannot be imported, or does not define the layer.
    """
    finder = _Finder(original.module, path)
    folder = str(Path(original.path).resolve().parent) if original.is_file else str(Path.cwd())
    place = str(path) if original.is_file else original.module
    before = sys.modules.pop(original.module, None)
    sys.meta_path.insert(0, finder)
    sys.path.insert(0, folder)
    try:
        factory = resolve_target(f"{place}:{original.name}").factory
        yield NamedLayer(factory, original.module, sys.modules[original.module])
    finally:
        sys.meta_path.remove(finder)
        if folder in sys.path:
            sys.path.remove(folder)
        if before is None:
            sys.modules.pop(original.module, None)
        else:
            sys.modules[original.module] = before


def examine(target: str, options: CheckOptions) -> Original:
    """Check the layer that is to be changed, and return the location of its source.

    Raises TargetError if it has no source or does not conform, and CannotCheck.
    """
    factory = resolve_target(target).factory
    module, name = find_source(target, factory)
    suite, progress = check_once(factory, options)
    tallies = progress.tallies
    broken = {rule.id: rule for rule in suite.rules if tallies[rule.id].violations}
    musts = [name for name, rule in broken.items() if rule.level is Level.MUST]
    if musts:
        first = tallies[musts[0]].first
        message = "" if first is None else f" ({first.message})"
        raise TargetError(
            f"{target} does not conform, so changes to it would show nothing: {musts[0]} "
            f"fails{message}. `rnnspec check {target}` reports it."
        )
    return Original(
        target=target,
        module=module.__name__,
        name=name,
        path=str(module.__file__),
        source=hash_text(Path(str(module.__file__)).read_text(encoding="utf-8")),
        kind=suite.kind,
        departs=frozenset(broken),
        reached=list_reached(suite, progress),
        lacks=frozenset(str(each) for each in suite.unsupported),
    )


def find_source(target: str, factory: Any) -> tuple[ModuleType, str]:
    """Return the module that defines a layer, and its name there. Raises TargetError.

    If the layer is neither a class nor a function, such as an adapter, the target names the module.
    """
    place, _, attribute = target.rpartition(":")
    found = place, attribute
    if inspect.isclass(factory) or inspect.isfunction(factory):
        found = factory.__module__, factory.__qualname__
    path = str(Path(found[0]).resolve())
    named = [each for each in sys.modules.values() if getattr(each, "__file__", None) == path]
    module = sys.modules.get(found[0]) or next(iter(named), None)
    source = getattr(module, "__file__", None) or ""
    if module is None or not source.endswith(".py") or not _defines(Path(source), found[1]):
        raise TargetError(f"{target}: it has no Python source that can be changed.")
    return module, found[1]


def _defines(path: Path, name: str) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return name.split(".")[0] in {each for node in tree.body for each in list_bound_names(node)}


def check_once(
    factory: Any,
    options: CheckOptions,
    departs: frozenset[str] = frozenset(),
    *,
    whole: bool = True,
) -> tuple[LayerSuite, Progress[Case]]:
    """Check a layer by all rules except `departs`, and return suite and results.

    Unless `whole`, the check ends with the first case that breaks a rule. The sizes of cases do not
    depend on the clock. Raises CannotCheck.
    """
    suite = prepare_suite(factory, ignore_clock(options))
    rules = tuple(rule for rule in suite.rules if rule.id not in departs)
    suite = replace(suite, rules=rules)
    with keep_random_numbers():
        progress = run_campaign(suite, until=() if whole else LEVELS)
    if progress.ends_now:
        raise KeyboardInterrupt
    return suite, progress


def list_reached(suite: LayerSuite, progress: Progress[Case]) -> frozenset[str]:
    """Return the rules that were checked in enough cases to hold."""
    least = suite.profile.minimum
    return frozenset(name for name, each in progress.tallies.items() if each.cases >= least)


Passed = Callable[[], object]


def check_mutant(
    original: Original,
    mutant: Mutant,
    path: Path,
    options: MutationOptions,
    note_passed: Passed = tuple,
) -> MutantResult:
    """Check a mutant whose module is in a file, and compare it with the layer if no rule fails.

    `note_passed` is called before the comparison.
    """
    begun = monotonic()

    def conclude(outcome: MutantOutcome, **found: str) -> MutantResult:
        return make_result(mutant, outcome, seconds=round(monotonic() - begun, 3), **found)

    def compare(side: NamedLayer, *, smallest: bool) -> Use | Case | None:
        number, seed = options.uses, options.check.seed
        with plant(original, Path(original.path)) as unchanged:
            return find_difference(
                unchanged, side, original.kind, number=number, seed=seed, smallest=smallest
            )

    try:
        with plant(original, path) as side:
            if options.differing and compare(side, smallest=False) is None:
                return conclude(MutantOutcome.EQUIVALENT)
            check = replace(options.check, kind=original.kind)
            suite, progress = check_once(side.factory, check, original.departs, whole=False)
    except CannotCheck as error:
        return conclude(MutantOutcome.INVALID, message=error.message)
    outcome, found = find_outcome(original, suite, progress)
    if outcome is not MutantOutcome.EQUIVALENT:
        return conclude(outcome, **found)
    note_passed()
    use = compare(side, smallest=True)
    if use is None:
        return conclude(MutantOutcome.EQUIVALENT)
    return conclude(MutantOutcome.SURVIVOR, use=str(use))


def find_outcome(
    original: Original, suite: LayerSuite, progress: Progress[Case]
) -> tuple[MutantOutcome, dict[str, str]]:
    """Return the outcome of a check of a mutant; it counts as equivalent if no rule notices it."""
    failing = [rule for rule in suite.rules if progress.tallies[rule.id].violations]
    broken = [rule for rule in failing if rule.level in LEVELS]
    if broken:
        names = [rule.id for rule in broken]
        roots = [r for r in broken if not any(map(r.presupposes_rule, names))] or broken
        first = progress.tallies[roots[0].id].first
        message = "" if first is None else first.message
        is_ours = first is not None and first.kind is FindingKind.CHECKER_ERROR
        outcome = MutantOutcome.ERROR if is_ours else MutantOutcome.DETECTED
        return outcome, {"rule": roots[0].id, "message": message}
    lost = {str(each): why for each, why in suite.unsupported.items()}
    for name in sorted(lost.keys() - original.lacks):
        return MutantOutcome.REFUSED, {"message": f"{name}: {lost[name]}"}
    missed = original.reached - list_reached(suite, progress)
    if missed:
        return MutantOutcome.REFUSED, {"rule": min(missed), "message": "the rule is not reached"}
    return MutantOutcome.EQUIVALENT, {}


def make_result(mutant: Mutant, outcome: MutantOutcome, **found: Any) -> MutantResult:
    """Return the result of a mutant."""
    return MutantResult(
        mutant.key, mutant.operator, mutant.line, mutant.before, mutant.after, outcome, **found
    )


def mutate_layer(
    target: str,
    options: MutationOptions,
    *,
    log: Path | None = None,
    watch: Watcher | None = None,
) -> Mutation:
    """Check mutants of a layer, and return the result of each.

    If you pass `log`, each result is written to a file at once, and results in the file are used
    again. `watch` is called with the number of mutants done and of all mutants. You can end the run
    with Ctrl-C and get the results so far. Raises CannotCheck if the layer cannot be changed or
    does not conform, and SelectionError if an option is wrong or the file belongs to another run.
    """
    for name in ("mutants", "uses", "jobs"):
        check_integer(name, getattr(options, name), 1 if name == "mutants" else 0)
    operators = select_ids(options.operators, OPERATOR_NAMES, None, "operator")
    original, known = read_log(log, describe_run(target, options))
    if original is None:
        original = _examine_alone(target, options)
        write_log(log, {**describe_run(target, options), "original": original.as_dict()})
    source = Path(original.path).read_text(encoding="utf-8")
    if hash_text(source) != original.source:
        raise SelectionError(f"{log} has the results of another source: name another file.", "log")
    all_found = list_mutants(source, [original.name.split(".")[0]])
    found = [each for each in all_found if each.operator in operators]
    chosen = sample_mutants(found, options.mutants, options.check.seed)
    results = {each.key: known[each.key] for each in chosen if each.key in known}
    waiting = [each for each in chosen if each.key not in known]
    stopped = False
    try:
        with tempfile.TemporaryDirectory(prefix="rnnspec-") as folder:
            jobs = [(each, write_mutant(each, source, original, Path(folder))) for each in waiting]
            for result in _check_all(original, jobs, options):
                results[result.key] = result
                write_log(log, result.as_dict())
                if watch is not None:
                    watch(len(results), len(chosen))
    except KeyboardInterrupt:
        if not results:
            raise
        stopped = True
    in_order = tuple(results[each.key] for each in chosen if each.key in results)
    seed, profile = options.check.seed, options.check.profile
    return Mutation(
        target, original.kind, profile, seed, len(found), options.uses, in_order, stopped
    )


def _examine_alone(target: str, options: MutationOptions) -> Original:
    if not options.jobs:
        return examine(target, options.check)
    found: Original = make_processes(options).run_alone(examine, target, options.check)
    return found


def describe_run(target: str, options: MutationOptions) -> dict[str, Any]:
    """Return everything that must be equal in two runs so that they can share results."""
    return {
        "schema": SCHEMA,
        "target": target,
        "profile": options.check.profile,
        "seed": options.check.seed,
        "uses": options.uses,
        "differing": options.differing,
    }


def hash_text(text: str) -> str:
    """Return a hash that identifies a source."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_mutant(mutant: Mutant, source: str, original: Original, folder: Path) -> Path:
    """Write the changed module to a file of the same name, in its own folder."""
    path = folder / hash_text(mutant.key) / Path(original.path).name
    path.parent.mkdir()
    path.write_text(mutant.apply(source), encoding="utf-8")
    return path


def read_log(
    path: Path | None, run: Mapping[str, Any]
) -> tuple[Original | None, dict[str, MutantResult]]:
    """Return the layer of a file of results, and the results by key.

    The layer is None if there is no file yet. An incomplete last line is ignored. Raises
    SelectionError if the file has the results of another run, or other content.
    """
    lines = (
        path.read_text(encoding="utf-8").splitlines(keepends=True) if path and path.exists() else []
    )
    whole = [line for line in lines if line.endswith("\n")]
    if path is None or not whole:
        return None, {}
    try:
        first, *rest = map(json.loads, whole)
        original = Original.from_dict(first.pop("original"))
        found = [MutantResult.from_dict(each) for each in rest]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SelectionError(f"{path} is no file of such results.", "log") from error
    if first != run:
        raise SelectionError(f"{path} has the results of another run: name another file.", "log")
    path.write_text("".join(whole), encoding="utf-8")
    return original, {each.key: each for each in found}


def write_log(path: Path | None, data: Mapping[str, Any]) -> None:
    """Add a line to a file."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


def _check_all(
    original: Original, jobs: Sequence[tuple[Mutant, Path]], options: MutationOptions
) -> Iterator[MutantResult]:
    """Yield the results of mutants, each checked in its own process unless `jobs` is 0."""
    if not options.jobs:
        yield from (check_mutant(original, *each, options) for each in jobs)
        return
    processes = make_processes(options)
    given = [ProcessCall((original, *each, options)) for each in jobs]
    for job in processes.run_all(_send_result, given):
        found = [each for each in job.sent if isinstance(each, MutantResult)]
        mutant = job.given[1]
        if found:
            yield found[0]
        elif job.sent:
            use = f"some random use: {job.ended}"
            yield make_result(mutant, MutantOutcome.SURVIVOR, use=use)
        else:
            yield make_result(mutant, MutantOutcome.STOPPED, message=job.ended)


def make_processes(options: MutationOptions) -> Processes:
    """Return the runner of processes; the compiler of torch is imported only once."""
    return Processes(options.jobs, options.limit, (__name__, "torch._dynamo"))


def _send_result(
    send: Send, original: Original, mutant: Mutant, path: Path, options: MutationOptions
) -> None:
    send(check_mutant(original, mutant, path, options, lambda: send("it passed the check")))


def format_mutation(found: Mutation) -> str:
    """Return a summary of the run, and each survivor with its line, the change and a use."""
    counts = found.count()
    noticed = sum(number for outcome, number in counts.items() if outcome.is_noticed)
    differing = noticed + counts[MutantOutcome.SURVIVOR]
    lines = [
        f"mutants of {found.target} ({found.kind}), seed {found.seed}, {found.profile} profile",
        "",
        *(
            f"  {each.value:<11}{counts[each]:>5}  {MEANINGS[each]}"
            for each in MutantOutcome
            if counts[each]
        ),
        "",
        f"{noticed} of {differing} mutants that differ are noticed; {len(found.results)} of the "
        f"{found.total} that can be made were checked",
    ]
    if found.stopped:
        lines.append("interrupted: those that follow were not checked")
    rules = Counter(each.rule for each in found.results if each.outcome is MutantOutcome.DETECTED)
    if rules:
        shown = ", ".join(f"{name} {number}" for name, number in rules.most_common(MOST_RULES))
        lines += ["", f"detected first by: {shown}"]
    for each in found.results:
        if each.outcome in (MutantOutcome.SURVIVOR, MutantOutcome.ERROR):
            lines += ["", *describe_result(each)]
    return "\n".join(lines)


def describe_result(each: MutantResult) -> Iterator[str]:
    """Yield the lines that describe a mutant and its outcome."""
    yield f"{each.outcome.name:<9} line {each.line}  ({each.operator})"
    yield f"  - {each.before}"
    yield f"  + {each.after or '(left out)'}"
    if each.use:
        yield f"  differs in  {each.use}"
    if each.message:
        yield f"  {each.rule}  {each.message}"
