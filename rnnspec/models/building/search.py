"""Find arguments that build a target, and others if the model cannot be called."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import nn

from rnnspec.errors import CannotCheck
from rnnspec.models.building.candidates import (
    ArgumentContext,
    choose_first,
    list_candidates,
    list_strings,
)
from rnnspec.models.building.errors import (
    correct_values,
    find_own_lines,
    list_alternatives,
    list_named,
    needs_cuda,
)
from rnnspec.models.building.meanings import OTHER_SIZES, ArgumentMeaning, InputSizes, find_meaning
from rnnspec.models.building.values import PlainValue, Value, WrittenArgument, make_arguments
from rnnspec.models.steps import unwrap_error
from rnnspec.subjects.failures import Ended

MOST_BUILDS = 300
"""The maximal number of models to build. No model of the tests needs more than 90."""
MOST_ALTERNATIVES = 60

BuildModel = Callable[[Mapping[str, Any]], nn.Module]
"""Builds a model from the values of the chosen arguments. Raises any exception of the target."""


class ArgumentSearch:
    """The search for the arguments of a target that the user did not give.

    `given` contains the user's arguments. `error` is the exception of the failed attempt that got
    furthest, and `values` are the arguments of that attempt.
    """

    def __init__(
        self, factory: Callable[..., Any], given: Mapping[str, Any], build: BuildModel
    ) -> None:
        self.factory = factory
        self.given = given
        self.error: Exception | None = None
        self.values: Mapping[str, WrittenArgument] = {}
        self._build = build
        self._builds = 0
        self._module = dict(vars(sys.modules.get(factory.__module__, inspect)))
        self._tried: set[str] = set()
        self._objects: dict[str, Any] = {}
        self._calls_failed: Exception | None = None

    def list_models(self) -> Iterator[tuple[dict[str, WrittenArgument], nn.Module]]:
        """Yield models that can be built, with the chosen arguments.

        If calls of a model fail, pass their exceptions to `learn` before you request the next
        model.
        """
        started: list[tuple[ArgumentContext, dict[str, Value]]] = []
        for sizes in (InputSizes(), *OTHER_SIZES):
            known = self._describe(sizes)
            found = self._find_buildable(self._choose_first(known), known)
            while found is not None:
                values, model = found
                self._calls_failed = None
                yield self._write(values), model
                started.append((known, values))
                found = self._correct(values, known)
                if found is None and len(started) == 1:
                    yield from self._list_named(values, known)
            if not self._list_needed():
                break
        for known, values in started[:1]:
            alternatives = list_alternatives(values, self._calls_failed, known, self._annotations)
            yield from self._build_each(list(alternatives)[:MOST_ALTERNATIVES])

    def _list_named(
        self, values: dict[str, Value], known: ArgumentContext
    ) -> Iterator[tuple[dict[str, WrittenArgument], nn.Module]]:
        """Yield models with other values for arguments named in the line of a failed call."""
        error = self._calls_failed
        named = list_named(error) if isinstance(error, TypeError | AttributeError) else frozenset()
        own = {name: value for name, value in values.items() if name in named}
        others = list_alternatives(own, error, known, self._annotations)
        yield from self._build_each([{**values, **other} for other in others])

    def _build_each(
        self, every: list[dict[str, Value]]
    ) -> Iterator[tuple[dict[str, WrittenArgument], nn.Module]]:
        for values in every:
            result = self._try(values)
            if not isinstance(result, Exception):
                yield self._write(values), result

    def learn(self, errors: list[Exception]) -> None:
        """Store the exceptions from calls of the last model."""
        self._calls_failed = next(
            (each for each in errors if isinstance(each, AttributeError | KeyError)),
            next(iter(errors), None),
        )

    @property
    def _annotations(self) -> dict[str, Any]:
        return {name: each.annotation for name, each in self._parameters.items()}

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.factory).parameters
        except (TypeError, ValueError):  # some callables have no signature
            return {}

    def _list_needed(self) -> list[inspect.Parameter]:
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return [
            each
            for name, each in self._parameters.items()
            if name not in self.given and each.default is each.empty and each.kind not in variadic
        ]

    def _describe(self, sizes: InputSizes) -> ArgumentContext:
        own = getattr(self.factory, "__name__", "")
        return ArgumentContext(sizes, self._module, list_strings(self.factory), own)

    def _choose_first(self, known: ArgumentContext) -> dict[str, Value]:
        chosen = choose_first(self.factory, known)
        return {name: value for name, value in chosen.items() if name not in self.given}

    def _write(self, values: Mapping[str, Value]) -> dict[str, WrittenArgument]:
        return {
            name: WrittenArgument(value.write(), self._module) for name, value in values.items()
        }

    def _try(self, values: Mapping[str, Value]) -> nn.Module | Exception:
        """Return the model built from values, or the exception."""
        text = repr({name: value.write() for name, value in values.items()})
        if text in self._tried or self._builds >= MOST_BUILDS:
            return LookupError("these values were tried")
        self._tried.add(text)
        self._builds += 1
        self._objects = {}
        try:
            with refuse_descriptors():
                self._objects = make_arguments(self._write(values))
                return self._build(self._objects)
        except (Ended, CannotCheck):
            raise
        except Exception as raised:  # a constructor may raise anything
            error = unwrap_error(raised)
            # Of several attempts, report the attempt that got furthest.
            if self.error is None or find_own_lines(error) > find_own_lines(self.error):
                self.error, self.values = error, self._write(values)
            return error

    def _find_buildable(
        self, values: dict[str, Value], known: ArgumentContext
    ) -> tuple[dict[str, Value], nn.Module] | None:
        values, result = self._try_corrected(values, known)
        while isinstance(result, Exception):
            further = self._find_further(values, result, known)
            if further is None:
                return None
            values, result = further
        return values, result

    def _find_further(
        self, values: dict[str, Value], error: Exception, known: ArgumentContext
    ) -> tuple[dict[str, Value], nn.Module | Exception] | None:
        """Return the first alternative that can be built or gets to a later line."""
        reached = find_own_lines(error)
        annotations = self._annotations
        every = {**values, **self._list_optional(values, error, known)}
        for other in list_alternatives(every, error, known, annotations):
            changed = {name: each for name, each in other.items() if each is not every.get(name)}
            start = {**values, **changed}
            tried, result = self._try_corrected(start, known)
            # A missing entry that was added is progress, even if its first value does not fit.
            if not isinstance(result, Exception) or tried != start:
                return tried, result
            if find_own_lines(result) > reached:
                return tried, result
        return None

    def _list_optional(
        self, values: Mapping[str, Value], error: Exception, known: ArgumentContext
    ) -> dict[str, Value]:
        """Return defaults that may cause an exception: None, and defaults for devices."""
        of_devices = (ArgumentMeaning.GPU, ArgumentMeaning.DEVICE)
        return {
            name: PlainValue(repr(each.default))
            for name, each in self._parameters.items()
            if name not in values
            and name not in self.given
            and (
                (each.default is None and not needs_cuda(error))
                or (needs_cuda(error) and find_meaning(name) in of_devices)
            )
        }

    def _try_corrected(
        self, values: dict[str, Value], known: ArgumentContext
    ) -> tuple[dict[str, Value], nn.Module | Exception]:
        """Return the outcome for values, adding the entries that exceptions require."""
        while True:
            result = self._try(values)
            if not isinstance(result, Exception):
                return values, result
            corrected = self._correct_once(values, result, known)
            if corrected is None:
                return values, result
            values = corrected

    def _correct_once(
        self, values: dict[str, Value], error: Exception, known: ArgumentContext
    ) -> dict[str, Value] | None:
        corrected = correct_values(values, error, self._objects, known)
        if corrected is not None:
            return corrected
        variadic = [each for each in self._parameters.values() if each.kind is each.VAR_KEYWORD]
        if variadic and isinstance(error, KeyError) and isinstance(error.args[0], str):
            key = error.args[0]
            return None if key in values else {**values, key: list_candidates(key, None, known)[0]}
        return None

    def _correct(
        self, values: dict[str, Value], known: ArgumentContext
    ) -> tuple[dict[str, Value], nn.Module] | None:
        """Return a model corrected by the exceptions of another model's calls, or None."""
        error = self._calls_failed
        corrected = None if error is None else self._correct_once(values, error, known)
        return None if corrected is None else self._find_buildable(corrected, known)


@contextmanager
def refuse_descriptors() -> Iterator[None]:
    """Make `open` refuse numbers, such as a size that was chosen for a file path.

    Otherwise it would use them as open file descriptors of this process and finally close these.
    """
    plain = builtins.open

    def open_path(file: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(file, int):
            raise FileNotFoundError(f"no such file: {file!r}")
        return plain(file, *arguments, **keywords)

    with mock.patch.object(builtins, "open", open_path):
        yield
