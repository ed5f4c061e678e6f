"""The capabilities of a device, found by trying it, and the handling of its random numbers.

Use these functions if your code depends on the device. A missing capability of a device counts as a
feature that the subject lacks, with the reason in the report.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from textwrap import shorten
from typing import Any

import numpy as np
import torch

from rnnspec.contract.features import Feature
from rnnspec.errors import DeviceError, suggest_similar
from rnnspec.subjects.failures import Ended, Failure, LeftOut, Raised
from rnnspec.subjects.steps import StepKind, announce_step
from rnnspec.text import read_message, read_type

PRODUCT = [[2.0, 2.0], [2.0, 2.0]]
"""The product of two matrices of ones, which is exact in every dtype."""
USUAL_DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")
"""The devices that torch itself implements."""
OTHER_NAMES = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "tpu": "xla", "gaudi": "hpu"}
"""Other names for a device, with the name that torch gives it."""
LONGEST_REASON = 200
"""Limit on the characters of torch's reason for refusing a device; that for MPS has 4,000."""
_CHECKED: set[str] = set()
"""The devices, other than the CPU and CUDA, that this process has found to work."""


def is_cpu(device: str | torch.device) -> bool:
    """Return whether a device is the CPU."""
    return torch.device(device).type == "cpu"


def is_cuda(device: str | torch.device) -> bool:
    """Return whether a device is a CUDA device."""
    return torch.device(device).type == "cuda"


def check_device(device: str) -> None:
    """Raise DeviceError if torch cannot store values on the device that you name.

    A device that works counts as used from then on.
    """
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:
        why = _explain_unusable(device, error)
        raise DeviceError(
            f"{device}: torch {torch.__version__} {why}; nothing was checked.", "device"
        ) from error
    if torch.device(device).type not in ("cpu", "cuda"):
        _CHECKED.add(device)


def _explain_unusable(device: str, error: Exception) -> str:
    """Return why torch cannot use a device, with a suggestion or with the step that is missing."""
    kind = device.partition(":")[0]
    try:
        torch.device(kind)
    except RuntimeError:
        meant = OTHER_NAMES.get(kind.casefold())
        near = f" Did you mean {meant!r}?" if meant else suggest_similar(kind, USUAL_DEVICES)
        return (
            f"knows no device {kind!r}.{near} If a backend registers it, import the module of the "
            "backend first, with --import"
        )
    reason = shorten(_read_first_line(error), LONGEST_REASON, placeholder=" ...")
    # torch reserves names such as hpu and privateuseone for backends outside of it.
    is_outside = not hasattr(torch, kind) and kind not in USUAL_DEVICES
    hint = "; import the module of its backend first, with --import" if is_outside else ""
    return f"cannot use it ({reason}){hint}"


def lacks_device(device: str) -> bool:
    """Return whether torch has a backend for a device that is missing on this machine.

    The device is not initialised. Return False if torch has no module for this type of device.
    """
    module = getattr(torch, device.partition(":")[0], None)
    is_available = getattr(module, "is_available", None)
    return callable(is_available) and not is_available()


def find_streams(device: str) -> Any:
    """Return torch's module for the streams of a device, such as torch.cuda, or None."""
    module = None if is_cpu(device) else getattr(torch, torch.device(device).type, None)
    has_streams = all(hasattr(module, name) for name in ("Stream", "stream", "synchronize"))
    return module if has_streams else None


@contextmanager
def use_other_stream(device: str) -> Iterator[None]:
    """Compute on another stream of a device that has streams, without waiting for other streams."""
    streams = find_streams(device)
    streams.synchronize(device)
    with streams.stream(streams.Stream(device)):
        yield
    streams.synchronize(device)


def find_address(tensor: torch.Tensor) -> int | None:
    """Return the address of a tensor in memory, or None if it has none.

    All tensors without elements and all tensors of a device without addresses are at 0.
    """
    return tensor.data_ptr() or None


def find_storage(tensor: torch.Tensor) -> int | None:
    """Return the address of the memory that a tensor shares, or None if it has no address."""
    if find_address(tensor) is None:
        return None
    return tensor.untyped_storage().data_ptr() or None


def count_stored(tensor: torch.Tensor) -> int:
    """Return the number of elements in the memory that a tensor shares."""
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def describe_cuda(device: str) -> dict[str, str]:
    """Return the name of a CUDA device, and the versions of CUDA and cuDNN, or "off" for cuDNN."""
    cudnn: Any = torch.backends.cudnn
    return {
        "device-name": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda or torch.version.hip),
        "cudnn": str(cudnn.version()) if cudnn.enabled else "off",
    }


def find_limits(device: str) -> dict[Feature, str]:
    """Return the features that a device lacks, each with the reason.

    Nothing is tried on the CPU. The trials change the caller's random number generators. A worker
    that a trial ends, or in which it does not return, is followed by another without this trial.
    """
    limits = {} if is_cuda(device) else {Feature.TF32: f"{device} has no TF32"}
    if is_cpu(device):
        return limits
    for feature, works in TRIALS.items():
        why = ""
        try:
            with announce_step(f"trying {feature.meaning} on {device}", StepKind.TRIAL):
                is_offered = works(device)
        except LeftOut:
            continue
        except Ended as end:
            is_offered, why = False, f": {end}"
        except Exception as error:
            is_offered, why = False, f": {read_type(error)}: {_read_first_line(error)}"
        if not is_offered:
            limits[feature] = f"{device} lacks {feature.meaning}{why}"
    if Feature.SEEDS in limits and find_own_seeder(device) is None:
        limits[Feature.DROPOUT] = f"the random numbers of {device} cannot be seeded"
    return limits


def _multiplies(dtype: torch.dtype) -> Callable[[str], bool]:
    """Return a trial that multiplies tensors of a dtype on a device and reads the result."""

    def works(device: str) -> bool:
        ones = torch.ones(2, 2, dtype=dtype).to(device)
        product: list[list[float]] = (ones @ ones).cpu().to(torch.float64).tolist()
        return product == PRODUCT

    return works


def _has_inference_mode(device: str) -> bool:
    ones = torch.ones(2, 2, device=device)
    with torch.inference_mode():
        found: list[list[float]] = (ones.t() @ ones).tolist()
    return found == PRODUCT


def _keeps_strides(device: str) -> bool:
    return torch.ones(2, 3, device=device).t().stride() == (1, 3)


def _has_addresses(device: str) -> bool:
    one, other = torch.ones(2, device=device), torch.ones(2, device=device)
    return one.data_ptr() != other.data_ptr()


def _repeats_seeds(device: str) -> bool:
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        drawn.append(torch.rand(4, device=device).tolist())
    return drawn[0] == drawn[1]


def _forks_generators(device: str) -> bool:
    with fork_generators(device):
        first = torch.rand(4, device=device).tolist()
    found: list[float] = torch.rand(4, device=device).tolist()
    return found == first


def _casts_automatically(device: str) -> bool:
    ones = torch.ones(2, 2, device=device)
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        return (ones @ ones).dtype is torch.bfloat16


TRIALS: Mapping[Feature, Callable[[str], bool]] = {
    Feature.FLOAT64: _multiplies(torch.float64),
    Feature.FLOAT32: _multiplies(torch.float32),
    Feature.BFLOAT16: _multiplies(torch.bfloat16),
    Feature.FLOAT16: _multiplies(torch.float16),
    Feature.INFERENCE: _has_inference_mode,
    Feature.STRIDES: _keeps_strides,
    Feature.ADDRESSES: _has_addresses,
    Feature.SEEDS: _repeats_seeds,
    Feature.FORKED_GENERATORS: _forks_generators,
    Feature.AUTOCAST: _casts_automatically,
}
"""The trial of each feature of a device; an exception means that the device lacks the feature."""


def seed_torch(seed: int, device: str | torch.device) -> None:
    """Seed the CPU's generator, or all generators if the subject runs on another device."""
    # torch.manual_seed seeds every backend, which takes longer than the call of a small layer.
    if is_cpu(device):
        torch.default_generator.manual_seed(seed)
        return
    torch.manual_seed(seed)
    own = find_own_seeder(device)
    if own is not None:
        own(seed)


def find_own_seeder(device: str | torch.device) -> Callable[[int], object] | None:
    """Return the `manual_seed` of a device's own package, such as torch_xla, or None.

    `torch.manual_seed` may not call this function.
    """
    package = sys.modules.get(f"torch_{torch.device(device).type}")
    found = getattr(package, "manual_seed", None)
    return found if callable(found) else None


def read_generator_states(device: torch.device) -> torch.Tensor:
    """Return the state of the CPU's generator as bytes, followed by the device's state, if any."""
    read_own = getattr(getattr(torch, device.type, None), "get_rng_state", None)
    if device.type == "cpu" or read_own is None:
        return torch.get_rng_state()
    own = read_own() if device.type == "mps" else read_own(device)
    return torch.cat([torch.get_rng_state(), own.cpu()])


def fork_generators(device: str | torch.device) -> AbstractContextManager[None]:
    """Restore the CPU's and the device's generators when the context exits.

    Raises an exception of the device if it has no generators that torch can fork.
    """
    if is_cpu(device):
        return torch.random.fork_rng(devices=[])
    place = torch.empty(0, device=device).device
    return torch.random.fork_rng(devices=[place.index], device_type=place.type)


def read_numpy_generator() -> tuple[Any, ...]:
    """Return the state of NumPy's global generator, which may be of any kind, for comparisons."""
    state: Any = np.random.get_state(legacy=False)
    values = (*state["state"].values(), *(each for name, each in state.items() if name != "state"))
    return tuple(each.tobytes() if isinstance(each, np.ndarray) else each for each in values)


@contextmanager
def keep_random_numbers() -> Iterator[None]:
    """Restore the generators of Python, NumPy, the CPU, and used devices when the context exits.

    Devices whose generators cannot be forked are left out.
    """
    python = random.getstate()
    numpy: Any = np.random.get_state(legacy=False)
    if "key" in numpy["state"]:
        # NumPy reads the key one number at a time: 0.11 ms from an array, 0.005 from a list.
        numpy["state"]["key"] = numpy["state"]["key"].tolist()
    try:
        with ExitStack() as stack:
            stack.enter_context(fork_generators("cpu"))
            for device in list_used_devices():
                with suppress(Exception):
                    stack.enter_context(fork_generators(device))
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def list_used_devices() -> list[str]:
    """Return the devices, besides the CPU, whose generators code of this process may use."""
    count = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    return [*(f"cuda:{index}" for index in range(count)), *sorted(_CHECKED)]


@contextmanager
def blame_device(step: str) -> Iterator[None]:
    """Attribute an exception of torch to a step of the subject while the context is active.

    Use it for rnnspec's own work with tensors on a device: an allocation can fail, an operator can
    be missing, a device can be lost, and a device that computes asynchronously reports errors only
    here.
    """
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        raise Raised(step, error) from error


def explain_nondeterminism(device: str) -> str:
    """Return the reason why equal calls may differ on a device, or an empty string.

    CUDA guarantees identical bits only if its libraries are configured for this before they are
    loaded.
    """
    if is_cuda(device) and "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
        return "CUDA promises the same bits only if CUBLAS_WORKSPACE_CONFIG is set"
    return ""


def _read_first_line(error: Exception) -> str:
    lines = read_message(error).strip().splitlines()
    return lines[0] if lines else read_type(error)
