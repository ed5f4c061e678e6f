"""The environment of a run: versions, the platform and the device."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from rnnspec._version import __version__
from rnnspec.subjects.devices import describe_cuda, is_cuda


def describe_environment(device: str) -> dict[str, str]:
    """Return the versions on which a run depends, with those of the device and of its package."""
    kind = torch.device(device).type
    return {
        "rnnspec": __version__,
        "torch": str(torch.__version__),  # a plain str, which can be unpickled without torch
        "hypothesis": version("hypothesis"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        **(describe_cuda(device) if is_cuda(device) else _describe_package(f"torch_{kind}")),
    }


def _describe_package(name: str) -> dict[str, str]:
    """Return the version of the package of a device, such as torch_xla, if there is one."""
    try:
        return {name: version(name)}
    except PackageNotFoundError:
        return {}
