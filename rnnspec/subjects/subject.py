"""The subject, which is the layer under test: build it, load its weights, and call it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from rnnspec.cases.axes import ConstructorStyle, DType, Feature
from rnnspec.cases.axes.constructor_style import SIZES, ConstructorArguments
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import UNGATED, Kind
from rnnspec.contract.shapes import Shape, parameter_shapes
from rnnspec.errors import TargetError
from rnnspec.oracle import Array
from rnnspec.subjects.devices import blame_device
from rnnspec.subjects.failures import Failure, Unloadable, classify_error
from rnnspec.subjects.release import list_positional_arguments
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.steps import (
    CONSTRUCTOR,
    LOADING_WEIGHTS,
    MAKING_TENSORS,
    READING_WEIGHTS,
    StepKind,
    announce_step,
    is_from_user,
)
from rnnspec.subjects.target import Target


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a subject.

    unsupported   the reason for each feature that the subject refuses openly or the user excluded
    keyword_only  whether its constructor accepts the sizes only as keyword arguments
    is_complete   whether every feature has been tried, so that a plain call must work
    """

    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    keyword_only: bool = False
    is_complete: bool = False

    def offers(self, feature: Feature | None) -> bool:
        """Return whether a feature is supported. `None`, which means no feature, always is."""
        return feature not in self.unsupported

    def list_results(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of the results by which calls of a layer of a kind are checked."""
        if self.returns_states(kind):
            return kind.results
        return tuple(name for name in kind.results if name not in kind.final)

    def returns_states(self, kind: Kind) -> bool:
        """Return whether calls return final states. Calls of a cell always do."""
        return kind.is_cell or self.offers(Feature.FINAL_STATE)

    def without(self, feature: Feature, reason: str) -> Capabilities:
        """Return the capabilities without a feature."""
        return replace(self, unsupported={**self.unsupported, feature: reason})


class Subject(Protocol):
    """The interface of a layer under test."""

    @property
    def kind(self) -> str:
        """The kind of layer."""

    @property
    def device(self) -> str:
        """The device on which it runs."""

    @property
    def target(self) -> Target:
        """The target that the user named."""

    @property
    def fixed(self) -> Mapping[str, Any]:
        """Constructor arguments that the user sets."""

    @property
    def capabilities(self) -> Capabilities:
        """The supported features, and how to build the layer."""

    @property
    def arranges_results(self) -> bool:
        """Whether results of another form are rearranged into the documented form."""

    def offers(self, feature: Feature | None) -> bool:
        """Return whether the subject supports a feature."""

    def arrange_arguments(
        self, config: Config, style: ConstructorStyle
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the constructor's positional and keyword arguments."""

    def build(
        self,
        config: Config,
        style: ConstructorStyle,
        dtype: DType,
        *,
        note: Callable[[], object] = tuple,
    ) -> torch.nn.Module:
        """Build a layer on the subject's device, in the mode set by the constructor.

        Load its weights with `load_weights` before you call it. `note` is called immediately before
        and after the constructor.
        """

    def load_weights(
        self, module: torch.nn.Module, config: Config, weights: Mapping[str, Array]
    ) -> None:
        """Load weights into a layer by their documented names."""

    def find_own_names(self, module: torch.nn.Module, config: Config) -> dict[str, str]:
        """Return the layer's own name for each documented parameter."""


@dataclass(frozen=True)
class TorchSubject:
    """A class or a function that takes the documented arguments and returns a torch module.

    `fixed` holds constructor arguments set by the user, documented or not. `remark` is a remark for
    the report on how the subject was found, or empty. With `arranges_results`, results are
    rearranged into the documented form if their order is clear.
    """

    target: Target
    device: str = "cpu"
    kind: str = UNGATED.name
    fixed: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Capabilities = field(default_factory=Capabilities)
    remark: str = ""
    arranges_results: bool = False

    def offers(self, feature: Feature | None) -> bool:
        """Return whether the subject supports a feature."""
        return self.capabilities.offers(feature)

    def build(
        self,
        config: Config,
        style: ConstructorStyle,
        dtype: DType,
        *,
        note: Callable[[], object] = tuple,
    ) -> torch.nn.Module:
        """Build a layer on the subject's device, in the mode set by the constructor.

        `note` is called immediately before and after the constructor. Raises Unsupported or Raised,
        with the step named, if the constructor or the conversion fails, and TargetError if the
        target does not return a module.
        """
        positional, named = self.arrange_arguments(config, style)
        place: dict[str, Any] = {"device": self.device, "dtype": dtype.torch_dtype}
        with observe_step(CONSTRUCTOR, dtype):
            note()
            module = self.target.factory(*positional, **(named | place if style.places else named))
            note()
        if not isinstance(module, torch.nn.Module):
            raise TargetError(
                f"{self.target.label} returned {module!r}; expected a torch.nn.Module"
            )
        if style.places:
            return module
        with observe_step(f".to({dtype})", dtype, StepKind.CONVERSION):
            return module.to(self.device, dtype.torch_dtype)

    def arrange_arguments(
        self, config: Config, style: ConstructorStyle
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the constructor's positional and keyword arguments."""
        lacking = {feature.text for feature in self.capabilities.unsupported}
        wanted = {name: value for name, value in config.arguments.items() if name not in lacking}
        passed = {name: value for name, value in wanted.items() if name not in self.fixed}
        leading = list_positional_arguments(_list_leading(config.arguments, passed))
        return style.arrange(
            ConstructorArguments(
                wanted=wanted,
                changed=frozenset({*SIZES, *config.changed}),
                own=self.fixed,
                positional=leading,
                sizes=(config.input_size, config.hidden_size),
                keyword_only=self.capabilities.keyword_only,
            )
        )

    def load_weights(
        self, module: torch.nn.Module, config: Config, weights: Mapping[str, Array]
    ) -> None:
        """Load weights into a layer by their documented names, using `load_state_dict`.

        Raises Unloadable if the layer does not have the documented parameters.
        """
        names = self.find_own_names(module, config)
        with observe_step(READING_WEIGHTS):
            state = dict(module.state_dict())
        with blame_device(MAKING_TENSORS):
            for name, own in names.items():
                array = torch.from_numpy(weights[name].copy())
                state[own] = array.to(state[own].dtype).to(state[own].device)
        with observe_step(LOADING_WEIGHTS):
            module.load_state_dict(state)

    def find_own_names(self, module: torch.nn.Module, config: Config) -> dict[str, str]:
        """Return the layer's own name for each documented parameter, see `match_names`."""
        with observe_step(READING_WEIGHTS):
            shapes = _list_shapes(module.state_dict())
            parameters = _list_shapes(dict(module.named_parameters()))
        return match_names(parameter_shapes(config), shapes, parameters)


def _list_shapes(tensors: Mapping[str, Any]) -> dict[str, Shape]:
    return {
        name: tuple(tensor.shape)
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor)
    }


def match_names(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], parameters: Mapping[str, Shape]
) -> dict[str, str]:
    """Return the name in the state_dict for each expected name.

    It is the same name; or, if names are missing but the parameters have the expected shapes in the
    expected order, the name at the same position. `found` holds the shapes in the state_dict,
    `parameters` the shapes of the parameters. Raises Unloadable if a parameter is missing or has
    another shape.
    """
    if all(found.get(name) == shape for name, shape in expected.items()):
        return {name: name for name in expected}
    missing = [name for name in expected if name not in found]
    if missing and list(expected.values()) == list(parameters.values()):
        return dict(zip(expected, parameters, strict=True))
    if missing:
        raise Unloadable(
            f"the state_dict has no {missing[0]}; it has {', '.join(found) or 'nothing'}",
            f"missing@{missing[0]}",
        )
    wrong = next(name for name, shape in expected.items() if found[name] != shape)
    message = f"{wrong} has shape {found[wrong]}, expected {expected[wrong]}"
    raise Unloadable(message, f"shape@{wrong}")


def _list_leading(documented: Mapping[str, Any], passed: Mapping[str, Any]) -> list[str]:
    """Return the documented arguments before the first that is not passed."""
    leading = []
    for name in documented:
        if name not in passed:
            break
        leading.append(name)
    return leading


@contextmanager
def observe_step(
    step: str,
    dtype: DType | None = None,
    kind: StepKind = StepKind.USE,
    *,
    may_fail: bool = False,
) -> Iterator[None]:
    """Run a step of the subject, and turn its exceptions into failures that name the step.

    Warnings are ignored, and changes of global settings are undone. `dtype` is the dtype of the
    tensors in the step; if a kernel lacks it, that is an open refusal. `may_fail` marks a step that
    the subject should refuse.
    """
    with warnings.catch_warnings(), restore_settings():
        # A subject that ignores all warnings adds a filter without a module. An equal filter would
        # hide that from the rule about global settings.
        warnings.filterwarnings("ignore", module=".*")
        try:
            with announce_step(step, kind, may_fail=may_fail):
                yield
        except (TargetError, Failure):
            raise
        except BaseException as error:
            if is_from_user(error):
                raise
            given = None if dtype is None else dtype.torch_dtype
            raise classify_error(step, error, given, kind) from error
