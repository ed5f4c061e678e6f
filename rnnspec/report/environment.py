"""The environment of a run: versions, the platform and the device."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from rnnspec._version import __version__


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
        **(_describe_cuda(device) if kind == "cuda" else _describe_package(f"torch_{kind}")),
    }


def _describe_cuda(device: str) -> dict[str, str]:
    """Return the name of a CUDA device, and the versions of CUDA and cuDNN, or "off" for cuDNN."""
    cudnn: Any = torch.backends.cudnn
    return {
        "device-name": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda or torch.version.hip),
        "cudnn": str(cudnn.version()) if cudnn.enabled else "off",
    }


def _describe_package(name: str) -> dict[str, str]:
    """Return the version of the package of a device, such as torch_xla, if there is one."""
    try:
        return {name: version(name)}
    except PackageNotFoundError:
        return {}
