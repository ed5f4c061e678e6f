"""How the constructor is called: which arguments are given, and by position or by keyword."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnspec.cases.axes.choice import Choice, Meaning
from rnnspec.contract.features import Feature

PassedArguments = tuple[list[Any], dict[str, Any]]
"""The arguments of a call, by position and by keyword."""
SIZES = ("input_size", "hidden_size")


@dataclass(frozen=True)
class ConstructorArguments:
    """The arguments of a layer, from which a style makes a call.

    wanted        every documented argument that the subject offers, in documented order
    changed       the names of arguments that differ from their default, including the sizes
    own           arguments that the user adds; they override the documented arguments
    positional    the documented arguments that may be given by position, in order
    sizes         both sizes
    keyword_only  whether the sizes, too, are given by keyword
    """

    wanted: Mapping[str, Any]
    changed: frozenset[str]
    own: Mapping[str, Any]
    positional: Sequence[str]
    sizes: tuple[int, int]
    keyword_only: bool = False

    def without_own(self) -> dict[str, Any]:
        """Return the wanted arguments that the user does not set."""
        return {name: value for name, value in self.wanted.items() if name not in self.own}


Arrange = Callable[[ConstructorArguments], PassedArguments]


@dataclass(frozen=True)
class ConstructorStyleMeaning(Meaning):
    """A constructor style.

    arrange        makes the call's arguments
    code           how a program passes the dict `config`; {dtype} is the dtype
    lists_all      whether `config` holds every argument, or only arguments that differ from the
                   defaults
    places         whether dtype and device are arguments too
    """

    arrange: Arrange
    code: str
    lists_all: bool
    places: bool = False


def _sizes_first(arguments: ConstructorArguments, named: Mapping[str, Any]) -> PassedArguments:
    rest = {**named, **arguments.own}
    if arguments.keyword_only:
        return [], {**dict(zip(SIZES, arguments.sizes, strict=True)), **rest}
    return list(arguments.sizes), {name: value for name, value in rest.items() if name not in SIZES}


def _arrange_changed(arguments: ConstructorArguments) -> PassedArguments:
    named = arguments.without_own().items()
    return _sizes_first(
        arguments, {name: value for name, value in named if name in arguments.changed}
    )


_CHANGED = ConstructorStyleMeaning(
    "changed",
    "the sizes by position, and by keyword what differs from the defaults",
    _arrange_changed,
    "**config",
    False,
)


def _arrange_keywords(arguments: ConstructorArguments) -> PassedArguments:
    return [], {**arguments.without_own(), **arguments.own}


_KEYWORDS = ConstructorStyleMeaning(
    "keywords", "every argument by keyword", _arrange_keywords, "**config", True
)


def _arrange_positional(arguments: ConstructorArguments) -> PassedArguments:
    wanted = arguments.without_own()
    rest = {
        name: value
        for name, value in wanted.items()
        if name not in arguments.positional and name in arguments.changed
    }
    return [wanted[name] for name in arguments.positional], {**rest, **arguments.own}


_POSITIONAL = ConstructorStyleMeaning(
    "positional", "every argument by position", _arrange_positional, "*config.values()", True
)


def _arrange_typed(arguments: ConstructorArguments) -> PassedArguments:
    return _sizes_first(arguments, arguments.without_own())


_TYPED = ConstructorStyleMeaning(
    "typed",
    "the sizes by position, everything else by keyword, with dtype= and device=",
    _arrange_typed,
    "**config, dtype={dtype}",
    True,
    places=True,
    needs=Feature.DTYPE,
)


class ConstructorStyle(Choice):
    """How the constructor is called."""

    _value_: ConstructorStyleMeaning

    CHANGED = _CHANGED
    KEYWORDS = _KEYWORDS
    POSITIONAL = _POSITIONAL
    TYPED = _TYPED

    @property
    def lists_all(self) -> bool:
        """Whether every argument is given, or only arguments that differ from the defaults."""
        return self._value_.lists_all

    @property
    def places(self) -> bool:
        """Whether dtype and device are arguments, so that the layer needs no conversion."""
        return self._value_.places

    def arrange(self, arguments: ConstructorArguments) -> PassedArguments:
        """Return the arguments of the call, by position and by keyword."""
        return self._value_.arrange(arguments)

    def write_call(self, name: str, dtype: str, *, by_position: bool = True) -> str:
        """Return the call of a constructor as Python code, with its arguments in a dict `config`.

        If the release of torch documents no order of the arguments, pass `by_position=False`: the
        code then uses keywords.
        """
        code = (
            self._value_.code
            if by_position or self is not ConstructorStyle.POSITIONAL
            else "**config"
        )
        return f"{name}({code.format(dtype=dtype)})"
