"""The options of a check, declared once.

The Python functions, the command line, the pytest decorators and the worker processes use these
classes. The metadata of a field define its flag on the command line. A field holds the value as the
user writes it; `rnnspec.api` refuses values that do not exist. If you add an option, declare it
here (docs/adding-an-option.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from rnnspec.contract.clauses import Level
from rnnspec.errors import SelectionError, suggest_similar

__all__ = [
    "AccuracyOptions",
    "CheckOptions",
    "CompareOptions",
    "ModelOptions",
    "Options",
    "RunOptions",
]

AUTOMATIC = "auto"
"""The value of an option that rnnspec chooses once it has seen the target."""
OptionsT = TypeVar("OptionsT", bound="Options")
F = TypeVar("F", bound=Callable[..., Any])


class SizeSource(Enum):
    """The source of the sizes of cases."""

    FREE = "free"
    POOL = "pool"


def ignore_clock(options: CheckOptions) -> CheckOptions:
    """Return options with which the source of sizes does not depend on the speed of the target.

    Processes that share the cases of a run could measure different speeds and choose differently.
    """
    if options.sizes != AUTOMATIC:
        return options
    return replace(options, sizes=SizeSource.FREE.value)


def option(
    default: Any,
    help: str,
    *,
    metavar: str | None = None,
    flags: str | None = None,
) -> Any:
    """Declare an option: its default, its text in `--help`, and its flag.

    You need `flags` only if the flag differs from the field's name with dashes. If you declare a
    tuple or a mapping, users can repeat its flag.
    """
    metadata = {"help": help, "metavar": metavar, "flags": flags}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The base class of all options.

    Derive from it if you add a kind of check, and declare each field by `option`. `from_keywords`
    reads the fields from the keywords of your function, and the command line makes flags of them.
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, tuple):
                object.__setattr__(self, each.name, _as_tuple(value))
            elif is_mapping(each):
                object.__setattr__(self, each.name, dict(value or {}))

    @classmethod
    def from_keywords(
        cls: type[OptionsT], caller: str, given: Mapping[str, Any], **defaults: Any
    ) -> OptionsT:
        """Return options from the keyword arguments of a call.

        `defaults` override the defaults of the class. Raises TypeError, with a suggestion, for a
        keyword that is not an option.
        """
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                near = suggest_similar(name, known)
                raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}.{near}")
        return cls(**{**defaults, **given})


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """Options that you can use with every check."""

    profile: str = option(
        "default", "How many cases to check: quick, default or thorough.", metavar="NAME"
    )
    cases: int | None = option(None, "Number of cases, in place of the profile's own.", metavar="N")
    seed: int = option(
        0, "Seed of all random draws; the same seed repeats the report.", metavar="N"
    )
    device: str = option("cpu", "A device of torch, such as cuda:0.", metavar="DEVICE")
    rules: tuple[str, ...] = option(
        (),
        "Check only rules whose id matches, e.g. 'states.*'. Repeatable.",
        metavar="PATTERN",
        flags="--rule",
    )
    strict: bool = option(False, "Count a broken rule of level SHOULD as a violation too.")
    strict_accuracy: bool = option(
        False, "Count an error that is larger than usual for rounding as a violation too."
    )
    fail_fast: bool = option(False, "Stop at the first violation.")
    arguments: Mapping[str, Any] = option(
        {}, "An argument for the target. Repeatable.", metavar="KEY=VALUE", flags="--arg"
    )


def list_scored_levels(options: RunOptions) -> tuple[Level, ...]:
    """Return the levels whose rules decide the verdict of a run."""
    more = {Level.SHOULD: options.strict, Level.NOTE: options.strict_accuracy}
    return (Level.MUST, *(level for level, counts in more.items() if counts))


@dataclass(frozen=True, kw_only=True)
class CheckOptions(RunOptions):
    """Options that you can use to check a layer."""

    kind: str = option(
        AUTOMATIC,
        "The kind: rnn, gru, lstm, a cell such as lstm-cell, or auto, which detects it.",
        metavar="KIND",
    )
    adapt: bool = option(
        False, "Find an adapter first, if your layer has other names, layouts or states."
    )
    known: str | None = option(
        None,
        "File with declared deviations, or 'none'. [default: rnnspec.toml or pyproject.toml here "
        "or above]",
        metavar="PATH",
    )
    dtype: str | None = option(
        None, "Check this dtype only: float64, float32, bfloat16 or float16.", metavar="DTYPE"
    )
    float32_precision: str | None = option(
        None,
        "Check float32 against this rounding only: ieee or tf32. The default on CUDA is both.",
        metavar="NAME",
    )
    sizes: str = option(
        AUTOMATIC,
        "Sizes of the cases: free; pool, a few sizes for a target that is slow or compiles for "
        "each shape; or auto, which is pool for a slow target and otherwise free.",
        metavar="NAME",
    )
    fewest: bool = option(
        False,
        "Check only as many cases as are needed to reach every rule, e.g. if a case takes seconds.",
    )
    parts: tuple[str, ...] = option(
        (),
        "Check one part of the contract: values, gradients, module or interface. Repeatable.",
        metavar="PART",
        flags="--part",
    )
    without: tuple[str, ...] = option(
        (),
        "Skip rules that need a feature the target does not have, e.g. packed. Repeatable.",
        metavar="FEATURE",
    )


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """Options that you can use to check a model that contains a recurrent layer."""

    readout: str | None = option(
        None,
        "last: one prediction per sequence; every: one per time step. Inferred if left out.",
        metavar="NAME",
    )
    vocabulary: int | None = option(
        None,
        "The model takes token ids below N. Inferred from the first Embedding.",
        metavar="N",
    )
    features: int | None = option(
        None,
        "The model takes N features per time step. Inferred from the first recurrent layer.",
        metavar="N",
    )
    call: str | None = option(
        None,
        "How the model is called: a Python expression over model, x, lengths, state, batch and "
        "steps, e.g. 'model(x, lengths)[0]'. Inferred from the signature of forward.",
        metavar="EXPR",
    )
    batch: int | None = option(
        None, "The model takes batches of N samples only, e.g. 1.", metavar="N"
    )
    steps: int | None = option(None, "The model takes sequences of N steps only.", metavar="N")
    batch_first: bool | None = option(
        None,
        "Whether the first dimension of the input is the batch or time. Inferred by calling the "
        "model.",
        flags="--batch-first/--sequence-first",
    )
    padding: int | None = option(
        None,
        "The token id used as padding. Inferred from the Embedding's padding_idx.",
        metavar="ID",
    )
    padding_side: str = option(
        "right",
        "right or left: where your data is padded. Padding on the left is not checked.",
        metavar="SIDE",
    )


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Options):
    """Options that you can use to compare two modules."""

    seed: int = option(
        0, "Seed of all random draws; the same seed repeats the report.", metavar="N"
    )
    device: str = option("cpu", "A device of torch, such as cuda:0.", metavar="DEVICE")
    float32_precision: str = option(
        AUTOMATIC,
        "The rounding of float32 products: ieee, tf32, or auto, which is tf32 on CUDA.",
        metavar="NAME",
    )
    arguments: Mapping[str, Any] = option(
        {}, "An argument for both constructors. Repeatable.", metavar="KEY=VALUE", flags="--arg"
    )
    limit: int | None = option(
        None,
        "Seconds for the whole comparison; the report lists the parts that were not compared.",
        metavar="SECONDS",
    )


@dataclass(frozen=True, kw_only=True)
class AccuracyOptions(Options):
    """Options that you can use to measure accuracy."""

    against: str | None = option(
        None, "The layer to compare with. [default: torch's own]", metavar="TARGET"
    )
    kind: str = option(
        AUTOMATIC,
        "The kind: rnn, gru, lstm, a cell such as lstm-cell, or auto, which detects it.",
        metavar="KIND",
    )
    size: tuple[str, ...] = option(
        (),
        "Features and units, e.g. 128x256. Repeatable. [default: 16x16, 128x256 and 512x512]",
        metavar="SIZE",
    )
    dtype: tuple[str, ...] = option(
        (),
        "float64, float32, bfloat16 or float16. Repeatable. [default: all but float64]",
        metavar="DTYPE",
    )
    steps: int = option(32, "Time steps of a case.", metavar="N")
    batch: int = option(4, "Samples of a case.", metavar="N")
    cases: int = option(2, "Number of cases for each size and dtype.", metavar="N")
    seed: int = option(
        0, "Seed of all random draws; the same seed repeats the numbers.", metavar="N"
    )
    device: str = option("cpu", "A device of torch, such as cuda:0.", metavar="DEVICE")
    arguments: Mapping[str, Any] = option(
        {}, "An argument for the target. Repeatable.", metavar="KEY=VALUE", flags="--arg"
    )


def check_choice(option: str, value: str, known: Iterable[str]) -> None:
    """Raise SelectionError if a value is not among the known values.

    Pass the name of your option: the message begins with it, and ends with the value that the user
    may mean.
    """
    names = list(known)
    if value not in names:
        listed = " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
        raise SelectionError(
            f"{value!r}: choose {listed}.{suggest_similar(str(value), names)}", option
        )


def select_ids(
    patterns: Sequence[str] | None,
    ids: Sequence[str],
    option: str | None = "rules",
    noun: str = "rule",
) -> list[str]:
    """Return the ids that match any of the glob patterns, or all ids without a pattern.

    A single string counts as one pattern. Raises SelectionError, with a suggestion, if a pattern
    matches no id; its message begins with `option`, the name of the option that holds the patterns,
    unless that is None. `noun` is the word for a rule in the message.
    """
    patterns = (patterns,) if isinstance(patterns, str) else patterns or ()
    for pattern in patterns:
        if not any(fnmatchcase(each, pattern) for each in ids):
            themes = [f"{each.partition('.')[0]}.*" for each in ids]
            near = suggest_similar(pattern, [*themes, *ids])
            raise SelectionError(
                f"{pattern!r} matches no {noun}.{near} `rnnspec rules` lists all.", option
            )
    return [each for each in ids if not patterns or any(fnmatchcase(each, one) for one in patterns)]


def check_integer(option: str, value: object, least: int | None = None) -> None:
    """Raise SelectionError if a value is not an integer, or is less than `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise SelectionError(f"must be an integer, got {value!r}", option)
    if least is not None and value < least:
        raise SelectionError(f"must be at least {least}, got {value}", option)


def spell_options(options: Options, names: Iterable[str]) -> list[str]:
    """Return the command-line words that choose these options."""
    words: list[str] = []
    for each in fields(options):
        if each.name not in names:
            continue
        value = getattr(options, each.name)
        flag = each.metadata["flags"] or f"--{each.name.replace('_', '-')}"
        if is_mapping(each):
            words += [word for key in value for word in (flag, f"{key}={value[key]}")]
        elif isinstance(each.default, tuple):
            words += [word for text in value for word in (flag, text)]
        elif isinstance(value, bool):
            words += [flag] if value else []
        elif value is not None:
            words += [flag, str(value)]
    return words


def describe_wrong_type(each: Field[Any], value: object) -> str:
    """Describe the required type of an option, or return an empty string if the value has it."""
    if is_mapping(each):
        return "" if isinstance(value, Mapping) else "a table such as {bias = false}"
    if isinstance(each.default, tuple):
        texts = [value] if isinstance(value, str) else value
        is_right = isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts)
        return "" if is_right else "a text or a list of texts"
    if value is None and each.default is None:
        return ""
    if "bool" in str(each.type):
        return "" if isinstance(value, bool) else "true or false"
    if "int" in str(each.type):
        return "" if isinstance(value, int) and not isinstance(value, bool) else "an integer"
    return "" if isinstance(value, str) else "a text"


def is_mapping(each: Field[Any]) -> bool:
    """Return whether the values of an option are mappings."""
    return each.default is MISSING


def _as_tuple(value: str | Iterable[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def show_options(options: type[Options], **defaults: Any) -> Callable[[F], F]:
    """Show the options in the signature of a function that takes them as `**options`."""

    def decorate(function: F) -> F:
        own = inspect.signature(function).parameters.values()
        kept = [each for each in own if each.kind is not inspect.Parameter.VAR_KEYWORD]
        shown = [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(each.name, {} if is_mapping(each) else each.default),
                annotation=each.type,
            )
            for each in fields(options)
        ]
        signature = inspect.Signature([*kept, *shown])
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    return decorate
