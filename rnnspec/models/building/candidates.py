"""List the values to try for an argument, most likely first."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor, nn

from rnnspec.contract import kinds
from rnnspec.models.building.meanings import LONGEST, ArgumentMeaning, InputSizes, find_meaning
from rnnspec.models.building.values import (
    Access,
    Built,
    PlainValue,
    Record,
    Value,
    Vocabulary,
    get_entries,
)
from rnnspec.models.case import ModelCase

IDS = {"pad": 0, "padding": 0, "blank": 0, "sos": 1, "bos": 1, "go": 1, "start": 1, "begin": 1}
"""Token ids for arguments with these words; others, such as the end of a text, get 2."""
BY_GATES = sorted(kinds.LAYERS, key=lambda kind: -len(kind.gates))
CELLS = (
    *(kind.title for kind in BY_GATES),
    *(kind.name for kind in BY_GATES),
    *(
        f"{kind.title}_{kind.nonlinearities[0]}".upper()
        for kind in kinds.LAYERS
        if kind.nonlinearities
    ),
)
"""Names of kinds that an argument may accept, kinds with most gates first."""
ATTENTIONS = ("dot", "general", "concat", "additive", "bahdanau", "luong", "mlp", "self")
ACTIVATIONS = ("tanh", "relu", "sigmoid", "softmax")
MARKS = ("<pad>", "<sos>", "<eos>", "<unk>")
USUAL_DROPOUT = 0.2


@dataclass(frozen=True)
class ArgumentContext:
    """Information about an argument besides its name.

    `module` contains the names of the target's own module, `strings` the strings in the code that
    receives the argument, and `own` the name of the target, which is excluded as a part of itself.
    """

    sizes: InputSizes = field(default_factory=InputSizes)
    module: dict[str, Any] = field(default_factory=dict)
    strings: tuple[str, ...] = ()
    own: str = ""
    depth: int = 0


def list_candidates(name: str, annotation: Any, known: ArgumentContext) -> list[Value]:
    """Return the values to try for an argument, most likely first."""
    meaning = find_meaning(name)
    is_plain = _resolve(annotation, known) in (bool, int, float, str)
    objects = [] if is_plain else list(_list_objects(name, meaning, known))
    plain = list(_list_by_meaning(meaning, name, known))
    # A configuration class with required arguments can rarely be built: it reads files.
    is_last = meaning is ArgumentMeaning.CONFIG and any(map(get_entries, objects))
    found = [
        *_list_by_annotation(annotation, meaning, name, known),
        *([*plain, *objects] if is_last else [*objects, *plain]),
        *_list_others(meaning, known),
    ]
    return list({each.write(): each for each in found}.values())


def list_required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the required parameters of a callable; none if it has no signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in parameters if each.default is each.empty and each.kind not in variadic]


def choose_first(function: Callable[..., Any], known: ArgumentContext) -> dict[str, Value]:
    """Return the most likely value for each required argument of a callable."""
    strings = known.strings or list_strings(function)
    inner = ArgumentContext(known.sizes, known.module, strings, known.own, known.depth)
    return {
        each.name: list_candidates(each.name, each.annotation, inner)[0]
        for each in list_required(function)
    }


def list_strings(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the words among the string constants in the code of a constructor or a function."""
    called = function.__init__ if inspect.isclass(function) else function
    code = getattr(called, "__code__", None)
    constants = list(getattr(code, "co_consts", ()))
    flat = [
        each
        for constant in constants
        for each in (constant if isinstance(constant, tuple | frozenset) else (constant,))
    ]
    return tuple(each for each in flat if isinstance(each, str) and each.replace("_", "").isalnum())


def _list_by_annotation(
    annotation: Any, meaning: ArgumentMeaning, name: str, known: ArgumentContext
) -> Iterator[Value]:
    """Yield values that follow only from an annotation, such as an enum or a configuration."""
    given = _resolve(annotation, known)
    if typing.get_origin(given) is typing.Literal:
        yield from (PlainValue(repr(each)) for each in typing.get_args(given))
    elif inspect.isclass(given) and issubclass(given, Enum):
        yield from (PlainValue(f"{given.__name__}.{each.name}") for each in given)
    elif given is bool and meaning not in (ArgumentMeaning.BIDIRECTIONAL, ArgumentMeaning.GPU):
        yield from (PlainValue("False"), PlainValue("True"))
    elif given in (list, tuple) or typing.get_origin(given) in (list, tuple):
        yield from _list_sequences(given, meaning, name, known)
    elif given is dict and meaning is ArgumentMeaning.CONFIG:
        yield Record(Access.ITEMS)
    elif given is Tensor:
        yield from _list_matrices(known)
    elif given is nn.Embedding:
        yield from _list_embeddings(known)
    elif inspect.isclass(given) and known.module.get(given.__name__) is given and known.depth < 3:
        yield from _build(given, known)


def _resolve(annotation: Any, known: ArgumentContext) -> Any:
    """Return an annotation as an object; for `X | None`, return X."""
    # With `from __future__ import annotations`, every annotation is a string.
    if isinstance(annotation, str):
        with suppress(Exception):  # a name that is only imported for type checkers
            annotation = eval(annotation, {**vars(typing), **known.module})
    inner = [each for each in typing.get_args(annotation) if each is not type(None)]
    is_optional = type(None) in typing.get_args(annotation)
    resolved = inner[0] if is_optional and len(inner) == 1 else annotation
    return None if resolved is Any else resolved  # Any is a class, but gives no information


def _list_sequences(
    annotation: Any, meaning: ArgumentMeaning, name: str, known: ArgumentContext
) -> Iterator[Value]:
    inner = next(iter(typing.get_args(annotation)), None)
    if inner is str or meaning in (ArgumentMeaning.WORDS, ArgumentMeaning.CLASSES):
        yield from _list_by_meaning(ArgumentMeaning.WORDS, name, known)
    elif meaning is ArgumentMeaning.DROPOUT:
        yield PlainValue(f"[{USUAL_DROPOUT}, {USUAL_DROPOUT}]")
    else:
        size = next(
            _list_by_meaning(meaning, name, known), PlainValue(str(known.sizes.hidden))
        ).write()
        yield PlainValue(f"[{size}, {size}]")


def _list_by_meaning(
    meaning: ArgumentMeaning, name: str, known: ArgumentContext
) -> Iterator[Value]:
    yield from (PlainValue(repr(each)) for each in _list_numbers(meaning, name, known.sizes))
    texts: dict[ArgumentMeaning, tuple[str, ...]] = {
        ArgumentMeaning.KIND: CELLS,
        ArgumentMeaning.ATTENTION: ATTENTIONS,
        ArgumentMeaning.ACTIVATION: ACTIVATIONS,
        ArgumentMeaning.TEXT: ("model",),
    }
    usual = _sort_strings(known.strings, texts.get(meaning, ()))
    yield from (PlainValue(repr(each)) for each in usual)
    if meaning in (ArgumentMeaning.MAPPING, ArgumentMeaning.WORDS):
        yield Vocabulary(known.sizes.vocabulary, MARKS)
    yield from map(PlainValue, _list_expressions(meaning, known.sizes))
    if meaning is ArgumentMeaning.MATRIX:
        # Matrices come from NumPy, weights and vectors from torch.
        is_array = "matrix" in name.lower()
        yield from sorted(_list_matrices(known), key=lambda each: is_array != _is_array(each))
    if meaning is ArgumentMeaning.EMBEDDING:
        yield from _list_embeddings(known)
    if meaning is ArgumentMeaning.CONFIG:
        yield Record()


def _list_numbers(
    meaning: ArgumentMeaning, name: str, sizes: InputSizes
) -> tuple[int | float, ...]:
    numbers: dict[ArgumentMeaning, tuple[int | float, ...]] = {
        ArgumentMeaning.BATCH: (ModelCase().batch,),
        ArgumentMeaning.DROPOUT: (USUAL_DROPOUT,),
        ArgumentMeaning.RATE: (0.1, 1.0, 0),
        ArgumentMeaning.LAYERS: (sizes.layers, 1),
        ArgumentMeaning.DIRECTIONS: (sizes.directions, 1),
        ArgumentMeaning.HEADS: (2, 1),
        ArgumentMeaning.KERNEL: (3, 1),
        ArgumentMeaning.FACTOR: (1, 2),
        ArgumentMeaning.MIXTURES: (2, 1),  # the weight of a single component is constant
        ArgumentMeaning.CHANNELS: (1, 3, sizes.features),
        ArgumentMeaning.FILTERS: (sizes.hidden,),
        ArgumentMeaning.HEIGHT: (32, 28, 64),
        ArgumentMeaning.LIMIT: (LONGEST, 6),
        ArgumentMeaning.HORIZON: (2, 1, 6),
        ArgumentMeaning.STEPS: (6,),
        ArgumentMeaning.VOCABULARY: (sizes.vocabulary,),
        ArgumentMeaning.EMBEDDING: (sizes.embedding,),
        ArgumentMeaning.OUTPUTS: (sizes.outputs, 1),
        ArgumentMeaning.HIDDEN: (sizes.hidden,),
        ArgumentMeaning.FEATURES: (sizes.features, 1),
        ArgumentMeaning.ID: (
            next((IDS[word] for word in name.lower().split("_") if word in IDS), 2),
        ),
    }
    return numbers.get(meaning, ())


def _list_expressions(meaning: ArgumentMeaning, sizes: InputSizes) -> tuple[str, ...]:
    expressions: dict[ArgumentMeaning, tuple[str, ...]] = {
        ArgumentMeaning.SWITCH: ("False", "True"),
        ArgumentMeaning.BIDIRECTIONAL: ("True", "False")
        if sizes.directions == 2
        else ("False", "True"),
        ArgumentMeaning.GPU: ("False", "None", "'cpu'"),
        ArgumentMeaning.DEVICE: ("torch.device('cpu')", "'cpu'", "False"),
        ArgumentMeaning.WORDS: (f"[*map(str, range({sizes.vocabulary}))]", str(sizes.vocabulary)),
        ArgumentMeaning.CLASSES: ("['O', 'B', 'I', 'E']", str(sizes.outputs)),
        ArgumentMeaning.SHAPE: (f"(6, {sizes.features})", f"({sizes.features},)"),
        ArgumentMeaning.LOSS: ("torch.nn.MSELoss()", "None"),
        ArgumentMeaning.ACTIVATION: ("torch.nn.Tanh()", "torch.tanh"),
        ArgumentMeaning.KIND: tuple(
            kind.qualified_name for kind in (*BY_GATES[:2], kinds.CELLS[-1])
        ),
    }
    return expressions.get(meaning, ())


def _sort_strings(strings: tuple[str, ...], usual: tuple[str, ...]) -> tuple[str, ...]:
    """Return the usual strings, starting with those that occur in the code of the callable."""
    named = [each for each in usual if each in strings]
    return (*named, *(each for each in usual if each not in named))


def _list_matrices(known: ArgumentContext) -> Iterator[Value]:
    sizes = known.sizes
    for rows, columns in (
        (sizes.vocabulary, sizes.embedding),
        (sizes.vocabulary, sizes.hidden),
    ):
        yield PlainValue(f"torch.linspace(-1, 1, {rows * columns}).view({rows}, {columns})")
        yield PlainValue(f"numpy.linspace(-1, 1, {rows * columns}).reshape({rows}, {columns})")
    yield PlainValue("None")


def _is_array(value: Value) -> bool:
    return value.write().startswith("numpy.")


def _list_embeddings(known: ArgumentContext) -> Iterator[Value]:
    sizes = known.sizes
    for width in (sizes.hidden, sizes.embedding):
        yield PlainValue(f"torch.nn.Embedding({sizes.vocabulary}, {width})")
    yield from _list_matrices(known)


def _list_others(meaning: ArgumentMeaning, known: ArgumentContext) -> Iterator[Value]:
    """Yield further values, in case the name is misunderstood or unknown."""
    sizes = known.sizes
    if meaning is ArgumentMeaning.UNKNOWN:
        yield from (PlainValue(repr(each)) for each in known.strings[:4] if len(known.strings) < 6)
        yield PlainValue(str(sizes.hidden))
    yield from map(PlainValue, (str(sizes.hidden), "1", "None", "False"))
    yield from (Record(), Record(Access.ITEMS), PlainValue(f"[{sizes.hidden}, {sizes.hidden}]"))
    usual = (CELLS[0], CELLS[3], ATTENTIONS[0], ACTIVATIONS[0])
    yield from (PlainValue(repr(each)) for each in _sort_strings(known.strings, usual))


def _list_objects(name: str, meaning: ArgumentMeaning, known: ArgumentContext) -> Iterator[Value]:
    """Yield instances of classes in the target's module whose names contain the argument's name.

    They are modules or configurations.
    """
    if (
        meaning not in (ArgumentMeaning.MODULE, ArgumentMeaning.CONFIG, ArgumentMeaning.UNKNOWN)
        or known.depth > 2
    ):
        return
    word = "config" if meaning is ArgumentMeaning.CONFIG else name.lower().replace("_", "")
    if len(word) < 3:  # most class names contain such short strings
        return
    short = {"enc": "encoder", "dec": "decoder", "attn": "attention"}.get(word, word)
    found = [
        each
        for title, each in known.module.items()
        if inspect.isclass(each)
        and each.__module__ == known.module.get("__name__")
        and title == each.__name__ != known.own
        and short in title.lower()
        and (issubclass(each, nn.Module) == (meaning is not ArgumentMeaning.CONFIG))
    ]
    for each in sorted(found, key=lambda each: len(each.__name__)):
        yield from _build(each, known)


def _build(chosen: Any, known: ArgumentContext) -> Iterator[Value]:
    inner = ArgumentContext(known.sizes, known.module, (), chosen.__name__, known.depth + 1)
    yield Built(chosen.__name__, choose_first(chosen, inner))
