"""A stand-alone program that shows a violation without rnnspec: it fails for the subject and passes for torch.nn.RNN."""

from __future__ import annotations

import re
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.engine.outcome import Finding
from rnnspec.observe.tensors import to_layout
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.release import is_promised
from rnnspec.subjects.settings import restore_settings
from rnnspec.subjects.target import Target

Array = NDArray[np.float64]
RELATIVE = {"float64": 1e-9, "float32": 1e-4, "tf32": 0.01, "bfloat16": 0.06, "float16": 0.01}

DATA = """def data(result):
    return result.data if isinstance(result, torch.nn.utils.rnn.PackedSequence) else result"""
CLOSE = """def close(got, expected):
    torch.testing.assert_close({got}, {expected}, rtol={tolerance}, atol={tolerance}, equal_nan=True)"""
SPREAD = """def spread(result):
    return (result * torch.arange(1.0, result.numel() + 1).reshape(result.shape).to(result) / result.numel()).sum()"""

QUIET_CALL = "with torch.no_grad():\n    layer(*given)"
LOAD = "layer.load_state_dict(reference.state_dict())"
SAME_TENSOR = (
    "with torch.no_grad():\n    {first}.mul_(-0.5)",
    "{call}",
    "with torch.no_grad():\n    {first}.mul_(-2.0)",
)
COPY = "for name, parameter in reference.named_parameters():\n    {line}"
HISTORIES: dict[str, tuple[str, ...]] = {
    "called": (LOAD, *SAME_TENSOR),
    "called-twice": (LOAD, "{call}", "{call}"),
    "other-batch": (LOAD, "{call_larger}"),
    "other-state": (LOAD, "{call_state}"),
    "other-grad": (LOAD, "with {other_grad}():\n    layer(*given)"),
    "thawed": (LOAD, "layer.requires_grad_(False)", "{call}", "layer.requires_grad_(True)"),
    "other-mode": (LOAD, "layer.train({other_mode})", "{call}", "layer.train({mode})"),
    "trained": (
        "layer(*given)[1].sum().backward()",
        "with torch.no_grad():\n    for own, new in zip(layer.parameters(), reference.parameters()):\n        own.copy_(new)",
        "layer.zero_grad()",
    ),
    "reloaded": ("{call}", LOAD),
    "replaced": (
        "{call}",
        COPY.format(line="setattr(layer, name, torch.nn.Parameter(parameter.detach().clone()))"),
    ),
    "data-replaced": (
        "{call}",
        COPY.format(line="getattr(layer, name).data = parameter.detach().clone()"),
    ),
    "deepcopied": ("import copy", LOAD, QUIET_CALL, "layer = copy.deepcopy(layer)"),
    "pickled": ("import pickle", LOAD, QUIET_CALL, "layer = pickle.loads(pickle.dumps(layer))"),
    "converted": ("layer = layer.to({other_dtype}).to({dtype})", LOAD),
    "nested": (
        "holder = torch.nn.ModuleList([layer])",
        "holder.load_state_dict(torch.nn.ModuleList([reference]).state_dict())",
    ),
    "functional": (
        "{call}",
        "module = layer",
        "weights = {{name: value.detach().requires_grad_() for name, value in reference.named_parameters()}}",
        "layer = lambda *given: torch.func.functional_call(module, weights, given)",
        "layer.named_parameters = weights.items",
    ),
    "shared": (
        "other = {build}",
        "for name, parameter in layer.named_parameters():\n    setattr(other, name, parameter)",
        "other.load_state_dict(reference.state_dict())",
        "other(*given)",
    ),
}
CONTEXTS = {"no_grad": "torch.no_grad()", "inference": "torch.inference_mode()"}


def write_program(
    target: Target,
    finding: Finding,
    fixed: Mapping[str, Any] | None = None,
    device: str = "cpu",
    *,
    literal: bool = False,
) -> str:
    """The source of the program; with `literal` the numbers of the case are written out, else they come from a seed.

    `fixed` are the user's own arguments; those that are not documented go to the subject alone.
    """
    case, proof = finding.case, finding.proof or snippets.BOTH
    tolerance = RELATIVE[case.rounding]
    if literal and finding.difference is not None and np.isfinite(finding.difference.allowed):
        tolerance = max(2 * finding.difference.allowed, 1e-300)
    own = {
        name: value for name, value in (fixed or {}).items() if name not in case.config.arguments
    }
    name = f"functools.partial({target.name}, {_keywords(own)})" if own else target.name
    building = [f"build = {name}"] if "build(" in proof else []
    setting = [
        *building,
        *_build(name, case),
        *_weights(case, literal),
        *_arguments(case, literal, proof),
        *_past(name, case),
    ]
    head = [*(["import functools", ""] if own else []), "import torch", "", *target.imports]
    setup = _on(device, case, proof)
    head += ["", *setup] if setup else []
    blocks = [
        "\n".join(head),
        "\n".join(setting),
        *_helpers(case, proof, tolerance),
        _within(case, proof),
    ]
    return "\n\n".join(blocks) + "\n"


def _on(device: str, case: Case, proof: str) -> list[str]:
    """What has to be set on another device than the CPU: the device itself, and on CUDA how the reference computes there."""
    chosen = [] if device == "cpu" else [f"torch.set_default_device({device!r})"]
    return [*chosen, *(_on_cuda(case, proof) if device.startswith("cuda") else [])]


def _on_cuda(case: Case, proof: str) -> list[str]:
    """Whether products may be rounded to TF32; and no cuDNN where gradients are taken, which it offers in training alone, and once."""
    allowed = case.arithmetic == "tf32"
    switches = [
        f"torch.backends.{name}.allow_tf32 = {allowed}" for name in ("cuda.matmul", "cudnn")
    ]
    differentiates = "grad(" in proof or "backward(" in proof
    return [
        *(switches if case.dtype == "float32" else []),
        *(["torch.backends.cudnn.enabled = False"] if differentiates else []),
    ]


def _helpers(case: Case, proof: str, tolerance: float) -> list[str]:
    """The functions that the last lines use."""
    names = (
        {"got": "data(got)", "expected": "data(expected)"}
        if case.is_packed
        else {"got": "got", "expected": "expected"}
    )
    close = CLOSE.format(tolerance=repr(tolerance), **names) if "close(" in proof else ""
    spread = SPREAD if "spread(" in proof else ""
    data = DATA if case.is_packed or "data(" in proof else ""
    return [helper for helper in (data, close, spread) if helper]


def _within(case: Case, proof: str) -> str:
    if case.grad not in CONTEXTS:
        return proof
    return f"with {CONTEXTS[case.grad]}:\n{textwrap.indent(proof, '    ')}"


def _keywords(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _build(name: str, case: Case) -> list[str]:
    config = (
        case.config.arguments
        if case.build in ("keywords", "positional", "typed")
        else case.config.changed
    )
    evaluated = ".eval()" if case.mode == "eval" else ""
    return [
        f"config = dict({_keywords(config)})",
        f"reference = {_layer('torch.nn.RNN', case, 'changed')}{evaluated}",
        f"layer = {_layer(name, case, case.build)}{evaluated}",
    ]


def _layer(name: str, case: Case, build: str) -> str:
    dtype = f"torch.{case.dtype}"
    if build == "typed":
        return f"{name}(**config, dtype={dtype})"
    arguments = (
        "*config.values()"
        if build == "positional" and is_promised("rnn.args.order")
        else "**config"
    )
    return f"{name}({arguments})" + ("" if case.dtype == "float32" else f".to({dtype})")


def _weights(case: Case, literal: bool) -> list[str]:
    if not literal:
        return [
            f"torch.manual_seed({case.seed})",
            "for parameter in reference.parameters():\n    torch.nn.init.uniform_(parameter, -0.9, 0.9)",
        ]
    weights = draw_values(case).weights
    entries = "\n".join(
        f"    {name!r}: {_numbers(array, case.dtype)}," for name, array in weights.items()
    )
    return [f"reference.load_state_dict({{\n{entries}\n}})"]


def _numbers(array: Array, dtype: str) -> str:
    return f"torch.tensor({array.tolist()!r}, dtype=torch.{dtype})"


def _arguments(case: Case, literal: bool, proof: str) -> list[str]:
    differentiable = case.grad == "grad" and "grad(" in proof
    first = "packed" if case.is_packed else "x"
    lines = (
        [f"time = {1 if case.config.batch_first and case.is_batched else 0}"]
        if "time" in proof
        else []
    )
    lines += [f"x = {_input(case, literal)}", *_memory(case)]
    lines += ["x.requires_grad_()"] if differentiable else []
    lines += [_packed(case)] if case.is_packed else []
    if case.state == "absent":
        return [*lines, f"given = ({first},)"]
    lines += [
        f"h_0 = {_state(case, literal)}",
        *_state_memory(case),
        *(["h_0.requires_grad_()"] if differentiable else []),
    ]
    return [*lines, f"given = ({first}, h_0)"]


def _input(case: Case, literal: bool) -> str:
    if literal:
        return _numbers(to_layout(case, draw_values(case).input), case.dtype)
    return f"torch.randn({', '.join(map(str, case.shape))}).to(torch.{case.dtype})"


def _state(case: Case, literal: bool) -> str:
    h_0 = draw_values(case).h_0 if case.is_batched else draw_values(case).h_0[:, 0]
    if literal:
        return _numbers(h_0, case.dtype)
    return f"torch.rand({', '.join(map(str, h_0.shape))}).to(torch.{case.dtype}) + 0.25"


def _packed(case: Case) -> str:
    options = ", batch_first=True" * case.config.batch_first + ", enforce_sorted=False" * (
        case.layout != "packed"
    )
    return f"packed = torch.nn.utils.rnn.pack_padded_sequence(x, {list(case.lengths)}{options})"


def _memory(case: Case) -> list[str]:
    repeated = (
        (1 if case.config.batch_first and case.is_batched else 0)
        if case.batch == 1
        else (0 if case.config.batch_first else 1)
    )
    return {
        "contiguous": [],
        "transposed": ["x = x.mT.contiguous().mT"],
        "exchanged": ["x = x.transpose(0, 1).contiguous().transpose(0, 1)"],
        "offset": ["x = torch.cat([x[:1] * float('nan'), x])[1:]"],
        "sliced": ["x = torch.stack([x * float('nan'), x], dim=-1).flatten(-2)[..., 1::2]"],
        "expanded": [f"x = x.narrow({repeated}, 0, 1).clone().expand(x.shape)"],
    }[case.memory]


def _state_memory(case: Case) -> list[str]:
    """An initial state that lies in memory otherwise, in the words of the input."""
    if not case.is_batched and case.memory in ("expanded", "exchanged"):
        return []
    if case.memory == "expanded":
        return ["h_0 = h_0[:, :1].clone().expand(h_0.shape)"]
    return [re.sub(r"\bx\b", "h_0", line) for line in _memory(case)]


def _past(name: str, case: Case) -> list[str]:
    larger = case.replace(layout="batched", batch=case.batch + 2, steps=case.steps + 1)
    state = (
        case.config.num_layers * case.config.num_directions,
        *((case.batch,) if case.is_batched else ()),
        case.config.hidden_size,
    )
    first = "packed" if case.is_packed else "x"
    words: Mapping[str, Any] = {
        "first": "packed.data" if case.is_packed else "x",
        "call": _earlier(case, "*given"),
        "call_larger": _earlier(case, f"torch.randn{larger.shape}.to(torch.{case.dtype})"),
        "call_state": _earlier(
            case,
            first
            if case.state == "given"
            else f"{first}, torch.ones{state}.to(torch.{case.dtype})",
        ),
        "other_grad": "torch.no_grad" if case.grad == "grad" else "torch.enable_grad",
        "other_mode": case.mode != "train",
        "mode": case.mode == "train",
        "dtype": f"torch.{case.dtype}",
        "other_dtype": "torch.float32" if case.dtype == "float64" else "torch.float64",
        "build": _layer(name, case, "changed"),
    }
    return [line.format(**words) if "{" in line else line for line in _lines(case)]


def _lines(case: Case) -> tuple[str, ...]:
    """The history's lines; nothing can be written into an expanded tensor."""
    return (
        (LOAD, "{call}")
        if (case.history, case.memory) == ("called", "expanded")
        else HISTORIES.get(case.history, (LOAD,))
    )


def _earlier(case: Case, arguments: str) -> str:
    """A call in the gradient mode of the case."""
    return (
        f"layer({arguments})"
        if case.grad not in CONTEXTS
        else f"with {CONTEXTS[case.grad]}:\n    layer({arguments})"
    )


def does_program_fail(source: str, target: Target, device: str = "cpu") -> bool:
    """Whether a program fails when it is run; runs it in this process, with the subject at hand where it cannot be imported."""
    scope: dict[str, Any] = {
        "__name__": "rnnspec_program",
        target.name.split(".")[-1]: target.factory,
    }
    try:
        with _contained(device):
            exec(compile(source, "<program>", "exec"), scope)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return True
    return False


@contextmanager
def _contained(device: str) -> Iterator[None]:
    """Undo what a program does to the process."""
    places = list(sys.path)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            torch.enable_grad(),
            restore_settings(),
        ):
            warnings.simplefilter("ignore")
            with switch_tf32(device, tf32=False):
                yield
    finally:
        sys.path[:] = places
        torch.set_default_device(None)


REFERENCE = Target(torch.nn.RNN, "torch.nn:RNN", "torch.nn.RNN", ())


def find_program(
    target: Target, finding: Finding, fixed: Mapping[str, Any] | None = None, device: str = "cpu"
) -> str:
    """The shortest program that fails for the subject and passes for torch.nn.RNN; empty where there is none.

    Its numbers come from a seed, or where that does not show the fault they are the case's own, written out.
    """
    for literal in (False, True):
        source = write_program(target, finding, fixed, device, literal=literal)
        if does_program_fail(source, target, device) and not does_program_fail(
            write_program(REFERENCE, finding, None, device, literal=literal), REFERENCE, device
        ):
            return source
    return ""
