"""A private copy of a model that can be called many times under the same conditions."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from rnnspec.models.copying import Template, convert_to_float64, set_mode
from rnnspec.models.forms import Readout
from rnnspec.models.infer import Interface
from rnnspec.models.kept_state import list_misspelt_attributes
from rnnspec.models.steps import find_cause
from rnnspec.models.training import set_dropout_to_zero
from rnnspec.subjects.devices import keep_random_numbers, list_used_devices, seed_torch
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.subjects.precision import forbid_cudnn
from rnnspec.text import read_message

HookInstaller = Callable[[nn.Module], list[RemovableHandle]]
"""A function that registers hooks on a model and returns their handles."""


class IsolatedModel:
    """A private copy of a model for measurements, in float64 if the model can run in float64.

    The copy is in evaluation mode unless `training` is true. Every call uses the same random state;
    redrawing the parameters changes it. If two calls with the same input give different
    predictions, every call uses a fresh copy, so that state kept from a call cannot affect the
    next. The given model is not modified. If it cannot be copied, `build` builds a new model; if
    that is not possible either, CannotCopy is raised. `misspelt` lists attributes that look
    misspelt. `notes` explains any measurement that had to be made differently.
    """

    def __init__(
        self,
        model: nn.Module,
        interface: Interface,
        x: Tensor,
        *,
        training: bool = False,
        build: Callable[[], nn.Module] | None = None,
    ) -> None:
        self.training = training
        self.interface = interface
        self.notes: list[str] = []
        self.misspelt = list_misspelt_attributes(model)
        self._template = Template(model, build)
        self._is_double = False
        self._drops_nothing = False
        self._drawn: int | None = None
        self._needs_fresh_copy = False
        self._module = self.make_module()
        self._convert_to_float64(x)
        self._needs_fresh_copy = not self._is_repeatable(self.cast_input(x))

    @property
    def module(self) -> nn.Module:
        """The copy that is called."""
        return self._module

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating-point parameter; float64 if there is none."""
        return next(
            (p.dtype for p in self._module.parameters() if p.is_floating_point()), torch.float64
        )

    def cast_input(self, x: Tensor) -> Tensor:
        """Return x on the device of the copy, and features in its dtype."""
        device = next((p.device for p in self._module.parameters()), x.device)
        return x.to(device, self.dtype) if x.is_floating_point() else x.to(device)

    def __call__(
        self, x: Tensor, *installers: HookInstaller, lengths: Tensor | None = None
    ) -> Tensor:
        """Return the prediction for x, with hooks installed during the call.

        Raises Raised if the model raises.
        """
        return self.run_module(self.prepare_module(), x, *installers, lengths=lengths)

    def prepare_module(self) -> nn.Module:
        """Return the module for the next call: the copy or, if needed, a fresh copy."""
        return self.make_module() if self._needs_fresh_copy else self._module

    def make_module(self) -> nn.Module:
        """Return a fresh copy that was never called."""
        module = set_mode(self._template.make(), training=self.training)
        if self._drops_nothing:
            set_dropout_to_zero(module)
        if self._is_double:
            module = convert_to_float64(module)
        if self._drawn is not None:
            _draw_parameters(module, self._drawn)
        return module

    def run_module(
        self,
        module: nn.Module,
        x: Tensor,
        *installers: HookInstaller,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction for x of a module from `prepare_module`."""
        with (
            install_hooks(module, installers),
            fork_random_numbers(self._drawn or 0),
            forbid_cudnn(),
        ):
            return self.interface.predict(module, self.cast_input(x).clone(), lengths)

    def list_others(self) -> list[IsolatedModel]:
        """Return this copy once for each further prediction of the call."""
        others = []
        for interface, _ in self.interface.list_predictions(Readout.LAST)[1:]:
            other = copy.copy(self)
            other.interface = interface
            others.append(other)
        return others

    def put_into_training(self) -> IsolatedModel:
        """Return the same copy in training mode, with all dropout probabilities set to zero."""
        other = copy.copy(self)
        other.training, other._drops_nothing = True, True
        other._needs_fresh_copy = True  # a call may change statistics
        other._module = other.make_module()
        return other

    def redraw_parameters(self, seed: int, x: Tensor) -> IsolatedModel | None:
        """Return the same model with random floating-point parameters.

        Returns None if it fails for x with these parameters, or if its prediction is not finite.
        """
        other = copy.copy(self)
        other._drawn = seed
        other._module = other.make_module()
        try:
            with torch.no_grad():
                return other if bool(other(x).isfinite().all()) else None
        except Ended:
            raise
        except Failure:  # some models work only with certain weights, such as positive ones
            return None

    def _convert_to_float64(self, x: Tensor) -> None:
        self._is_double = True
        try:
            with torch.no_grad():
                self._module = self.make_module()
                self(x)
        except Exception as error:  # the model may raise anything
            self._is_double = False
            self._module = self.make_module()
            cause = read_message(find_cause(error))
            self.notes.append(
                f"measured in {self.dtype}, because the model fails in float64: {cause}"
            )
            return
        self._module = self.make_module()

    def _is_repeatable(self, x: Tensor) -> bool:
        with torch.no_grad():
            first, second = self(x), self(x)
            self._module = self.make_module()
        if torch.equal(first, second):
            return True
        self.notes.append(
            "a second call with the same input gives another prediction, "
            "so each call used a fresh copy of the model"
        )
        return False


@contextmanager
def fork_random_numbers(seed: int) -> Iterator[None]:
    """Seed the generators of torch, CUDA, NumPy and Python, and restore them afterwards.

    Those of the devices in use are among them. A model may draw from any of them, for example to
    choose between the right token and its own prediction as input of a decoder.
    """
    with keep_random_numbers():
        for device in ("cpu", *list_used_devices()):
            seed_torch(seed, device)
        random.seed(seed)
        np.random.seed(seed)
        yield


@contextmanager
def install_hooks(module: nn.Module, installers: Sequence[HookInstaller]) -> Iterator[None]:
    """Install hooks on a module, and remove them afterwards."""
    handles = [handle for installer in installers for handle in installer(module)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _draw_parameters(module: nn.Module, seed: int) -> None:
    """Draw all floating-point parameters anew, except lazy parameters that a call will create."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and not is_lazy(parameter):
                parameter.copy_(_draw_parameter(parameter, generator))


def _draw_parameter(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Draw values uniformly from a range that keeps activations out of saturation."""
    limit = max(float(parameter.shape[-1]), 4.0) ** -0.5 if parameter.dim() > 1 else 0.5
    drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
    return ((2 * drawn - 1) * limit).to(parameter)
