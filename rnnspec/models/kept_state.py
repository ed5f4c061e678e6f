"""Find state that a model keeps between calls, and attributes that have no effect."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rnnspec.errors import find_similar
from rnnspec.models.tensors import list_tensors

KEPT = "self.{name} is kept from one call to the next, so a prediction depends on earlier batches."
RESET = (
    "output, state = self.{layer}(x) starts from zeros. To carry a state on purpose, take it as an "
    "argument and return it, def forward(self, x, state=None), and let the caller detach() it"
)

UNREGISTERED = (
    "self.{name} is a {container} of modules, of which torch does not know: the state_dict lacks "
    "them, they do not move with the model, and no optimizer trains them.\n"
    "  try            self.{name} = torch.nn.{known}(...)"
)

OWN = (nn.Embedding, nn.Linear, nn.LayerNorm, nn.RNNBase, nn.RNNCellBase)
"""The modules of torch that are searched for misspelt attributes."""

CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

KeptTensors = dict[str, tuple[Tensor, ...]]
"""Copies of the tensors in each attribute, by its name."""


def copy_attributes(model: nn.Module) -> KeptTensors:
    """Return copies of the tensors in the attributes and buffers of all modules of a model."""
    found: KeptTensors = {}
    for prefix, module in model.named_modules():
        values = {**vars(module), **dict(module.named_buffers(recurse=False))}
        for name, value in values.items():
            tensors = tuple(each for each in list_tensors(value) if not is_lazy(each))
            if tensors and not name.startswith("_"):
                full = f"{prefix}.{name}" if prefix else name
                found[full] = tuple(each.detach().clone() for each in tensors)
    return found


def find_changed(before: KeptTensors, after: KeptTensors) -> list[str]:
    """Return the names of the attributes that are new or have other values."""
    return [name for name, tensors in after.items() if not _are_equal(before.get(name), tensors)]


def describe_kept_state(before: KeptTensors, after: KeptTensors, layer: str) -> str:
    """Return a sentence about state that is kept, with its remedy, or an empty string."""
    changed = [
        name
        for name in find_changed(before, after)
        if any(each.is_floating_point() for each in after[name])
    ]
    if not changed:
        return ""
    remedy = RESET.format(layer=layer or "layer")
    return f"\n  {KEPT.format(name=changed[0])}\n  try            {remedy}"


def list_misspelt_attributes(model: nn.Module) -> list[tuple[str, str]]:
    """Return tensors that are assigned to torch's own modules under an unknown name.

    Each entry is a pair of the name and the probable intention, such as `emb.weights` and `weight`.
    Attributes of parameters, such as `emb.weight.require_grad`, are listed too.
    """
    found = []
    for prefix, module in model.named_modules():
        own = isinstance(module, OWN) and type(module).__module__.startswith("torch.nn.modules")
        dotted = f"{prefix}." if prefix else ""
        values = {**vars(module), **dict(module.named_parameters(recurse=False))}
        for name, value in values.items() if own else ():
            meant = _find_meant(name, _list_weights(module))
            if isinstance(value, Tensor) and meant:
                found.append((f"{dotted}{name}", meant))
        for name, parameter in module.named_parameters(recurse=False):
            for attribute in vars(parameter):
                meant = _find_meant(attribute, ["requires_grad"])
                if meant:
                    found.append((f"{dotted}{name}.{attribute}", meant))
    return found


def _list_weights(module: nn.Module) -> list[str]:
    """Return the documented names of the parameters of torch's own modules."""
    return [*getattr(module, "_flat_weights_names", ()), *CELL_WEIGHTS, "weight", "bias"]


def list_unregistered_modules(model: nn.Module) -> list[tuple[str, str]]:
    """Return the attributes that hold modules in a Python list, tuple or dict.

    Each entry is a pair of the name and the type of the container. Modules that are also registered
    elsewhere in the model are skipped.
    """
    known = set(model.modules())
    found = []
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if not isinstance(value, list | tuple | dict) or name.startswith("_"):
                continue
            items = value.values() if isinstance(value, dict) else value
            if not known.issuperset(each for each in items if isinstance(each, nn.Module)):
                full = f"{prefix}.{name}" if prefix else name
                found.append((full, type(value).__name__))
    return found


def describe_unregistered(model: nn.Module) -> str:
    """Return lines about unregistered modules, with the remedy, or an empty string."""
    for name, container in list_unregistered_modules(model):
        known = "ModuleDict" if container == "dict" else "ModuleList"
        return f"\n  {UNREGISTERED.format(name=name, container=container, known=known)}"
    return ""


def _find_meant(name: str, known: list[str]) -> str:
    """Return a known name similar to `name`, or an empty string if `name` itself is known."""
    if name in known or name.startswith("_"):
        return ""
    return next(iter(find_similar(name, known)), "")


def _are_equal(before: tuple[Tensor, ...] | None, after: tuple[Tensor, ...]) -> bool:
    if before is None or len(before) != len(after):
        return False
    return all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
