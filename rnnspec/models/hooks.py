"""Register hooks on modules, except on those of TorchScript, which take none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


def watch_arguments(
    module: nn.Module, hook: Callable[[nn.Module, Any, Any], None]
) -> list[RemovableHandle]:
    """Call a hook with the module, its arguments and its keywords before each of its calls."""
    if isinstance(module, torch.jit.ScriptModule):
        return []
    return [module.register_forward_pre_hook(hook, with_kwargs=True)]


def replace_result(
    module: nn.Module, hook: Callable[[nn.Module, Any, Any, Any], Any]
) -> list[RemovableHandle]:
    """Call a hook with what a module returned, too, and return what the hook returns instead."""
    if isinstance(module, torch.jit.ScriptModule):
        return []
    return [module.register_forward_hook(hook, with_kwargs=True)]
