"""Register hooks on modules, except on TorchScript modules, which accept none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


def watch_arguments(
    module: nn.Module, hook: Callable[[nn.Module, Any, Any], None]
) -> list[RemovableHandle]:
    """Call a hook before each call of a module, with the module, its arguments and its keywords."""
    if isinstance(module, torch.jit.ScriptModule):
        return []
    return [module.register_forward_pre_hook(hook, with_kwargs=True)]


def replace_result(
    module: nn.Module, hook: Callable[[nn.Module, Any, Any, Any], Any]
) -> list[RemovableHandle]:
    """Replace the result of each call of a module by the result of a hook, which gets it too."""
    if isinstance(module, torch.jit.ScriptModule):
        return []
    return [module.register_forward_hook(hook, with_kwargs=True)]
