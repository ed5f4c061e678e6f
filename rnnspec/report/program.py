"""A stand-alone program that shows a violation without rnnspec: it fails for the subject and passes for torch.nn.RNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.cases.values import values_of
from rnnspec.engine.outcome import Finding
from rnnspec.rules import proofs
from rnnspec.subjects.target import Target

Array = NDArray[np.float64]
RELATIVE = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 0.06, "float16": 0.01}
MOST_LITERALS = 2000

CLOSE = """
def data(result):
    return getattr(result, "data", result) if isinstance(result, torch.nn.utils.rnn.PackedSequence) else result

def close(got, expected):
    torch.testing.assert_close(data(got), data(expected), rtol={tolerance}, atol={tolerance}, equal_nan=True)
"""
SPREAD = """
def spread(result):
    return (result * torch.arange(1.0, result.numel() + 1).reshape(result.shape).to(result) / result.numel()).sum()
"""

LOAD = "layer.load_state_dict(reference.state_dict())"
COPY = "for name, parameter in reference.named_parameters():\n    {line}"
HISTORIES: dict[str, tuple[str, ...]] = {
    "called": (LOAD, "layer(*given)"),
    "called-twice": (LOAD, "layer(*given)", "layer(*given)"),
    "other-batch": (LOAD, "layer({larger})"),
    "other-state": (LOAD, "layer({state})"),
    "other-grad": (LOAD, "with {other_grad}():\n    layer(*given)"),
    "other-mode": (LOAD, "layer.train({other_mode})", "layer(*given)", "layer.train({mode})"),
    "trained": (
        "layer(*given)[1].sum().backward()",
        "with torch.no_grad():\n    for own, new in zip(layer.parameters(), reference.parameters()):\n        own.copy_(new)",
        "layer.zero_grad()",
    ),
    "reloaded": ("layer(*given)", LOAD),
    "replaced": ("layer(*given)", COPY.format(line="setattr(layer, name, torch.nn.Parameter(parameter.detach().clone()))")),
    "data-replaced": ("layer(*given)", COPY.format(line="getattr(layer, name).data = parameter.detach().clone()")),
    "deepcopied": ("import copy", LOAD, "layer(*given)", "layer = copy.deepcopy(layer)"),
    "pickled": ("import pickle", LOAD, "layer(*given)", "layer = pickle.loads(pickle.dumps(layer))"),
    "converted": ("layer = layer.to({other_dtype}).to({dtype})", LOAD),
    "nested": ("holder = torch.nn.ModuleList([layer])", "holder.load_state_dict(torch.nn.ModuleList([reference]).state_dict())"),
    "functional": (
        "module, weights = layer, dict(reference.named_parameters())",
        "layer = lambda *given: torch.func.functional_call(module, weights, given)",
        "layer.named_parameters = reference.named_parameters",
    ),
    "shared": (
        "other = {build}",
        "for name, parameter in layer.named_parameters():\n    setattr(other, name, parameter)",
        "other.load_state_dict(reference.state_dict())",
        "other(*given)",
    ),
}
CONTEXTS = {"grad": "", "no_grad": "torch.set_grad_enabled(False)", "inference": "torch.inference_mode().__enter__()"}


def program(target: Target, finding: Finding, *, literal: bool = False) -> str:
    """The source of the program; with `literal` the numbers of the case are written out, else they come from a seed."""
    case = finding.case
    proof = finding.proof or proofs.BOTH
    tolerance = RELATIVE[case.dtype]
    if literal and finding.difference is not None and np.isfinite(finding.difference.allowed):
        tolerance = max(2 * finding.difference.allowed, 1e-300)
    blocks = [
        "\n".join(["import torch", "", *target.imports]),
        *_build(target, case),
        *_weights(case, literal),
        *_arguments(case, literal),
        *_past(target, case),
        CONTEXTS[case.grad],
        CLOSE.format(tolerance=repr(tolerance)).strip(),
        SPREAD.strip() if "spread(" in proof else "",
        proof,
    ]
    return "\n".join(block for block in blocks if block) + "\n"


def _build(target: Target, case: Case) -> list[str]:
    config = case.config.arguments if case.build in ("keywords", "positional", "typed") else case.config.changed
    return [
        "",
        f"config = dict({', '.join(f'{name}={value!r}' for name, value in config.items())})",
        f"reference = {_layer('torch.nn.RNN', case, 'changed')}.{case.mode}()" if case.mode == "eval" else f"reference = {_layer('torch.nn.RNN', case, 'changed')}",
        f"layer = {_layer(target.name, case, case.build)}" + (".eval()" if case.mode == "eval" else ""),
    ]


def _layer(name: str, case: Case, build: str) -> str:
    dtype = f"torch.{case.dtype}"
    if build == "typed":
        return f"{name}(**config, dtype={dtype})"
    arguments = "*config.values()" if build == "positional" else "**config"
    return f"{name}({arguments})" + ("" if case.dtype == "float32" else f".to({dtype})")


def _weights(case: Case, literal: bool) -> list[str]:
    if not literal:
        return [
            f"torch.manual_seed({case.seed})",
            "for parameter in reference.parameters():\n    torch.nn.init.uniform_(parameter, -0.9, 0.9)",
        ]
    weights = values_of(case).weights
    entries = "\n".join(f"    {name!r}: {_numbers(array, case.dtype)}," for name, array in weights.items())
    return [f"reference.load_state_dict({{\n{entries}\n}})"]


def _numbers(array: Array, dtype: str) -> str:
    return f"torch.tensor({array.tolist()!r}, dtype=torch.{dtype})"


def _arguments(case: Case, literal: bool) -> list[str]:
    values = values_of(case)
    dtype = f"dtype=torch.{case.dtype}"
    state = (case.config.num_layers * case.config.num_directions, *((case.batch,) if case.batched else ()), case.config.hidden_size)
    lines = [f"time = {1 if case.config.batch_first and case.batched else 0}"]
    if literal:
        array = values.input[:, 0] if not case.batched else values.input.swapaxes(0, 1) if case.config.batch_first else values.input
        lines.append(f"x = {_numbers(array, case.dtype)}")
    else:
        lines.append(f"x = torch.randn{case.shape}.to(torch.{case.dtype})")
    given = f"x.requires_grad_({case.grad == 'grad'})"
    lines += [*_memory(case), given]
    if case.packed:
        sorted_ = case.layout == "packed"
        lines.append(
            f"packed = torch.nn.utils.rnn.pack_padded_sequence(x, {list(case.lengths)}, batch_first={case.config.batch_first}, enforce_sorted={sorted_})"
        )
    first = "packed" if case.packed else "x"
    if case.state == "absent":
        return [*lines, "h_0 = None", f"given = ({first},)"]
    h_0 = values.h_0 if case.batched else values.h_0[:, 0]
    lines.append(f"h_0 = {_numbers(h_0, case.dtype)}" if literal else f"h_0 = torch.rand{state}.to(torch.{case.dtype}) + 0.25")
    return [*lines, f"h_0.requires_grad_({case.grad == 'grad'})", f"given = ({first}, h_0)"]


def _memory(case: Case) -> list[str]:
    repeated = (1 if case.config.batch_first and case.batched else 0) if case.batch == 1 else (0 if case.config.batch_first else 1)
    return {
        "contiguous": [],
        "transposed": ["x = x.mT.contiguous().mT"],
        "sliced": ["x = torch.stack([x * float('nan'), x], dim=-1).flatten(-2)[..., 1::2]"],
        "expanded": [f"x = x.narrow({repeated}, 0, 1).clone().expand(x.shape)"],
    }[case.memory]


def _past(target: Target, case: Case) -> list[str]:
    larger = case.altered(layout="batched", batch=case.batch + 2, steps=case.steps + 1)
    state = (case.config.num_layers * case.config.num_directions, *((case.batch,) if case.batched else ()), case.config.hidden_size)
    first = "packed" if case.packed else "x"
    words: Mapping[str, Any] = {
        "larger": f"torch.randn{larger.shape}.to(torch.{case.dtype})",
        "state": first if case.state == "given" else f"{first}, torch.ones{state}.to(torch.{case.dtype})",
        "other_grad": "torch.no_grad" if case.grad == "grad" else "torch.enable_grad",
        "other_mode": case.mode != "train",
        "mode": case.mode == "train",
        "dtype": f"torch.{case.dtype}",
        "other_dtype": "torch.float32" if case.dtype == "float64" else "torch.float64",
        "build": _layer(target.name, case, "changed"),
    }
    return [line.format(**words) if "{" in line else line for line in HISTORIES.get(case.history, (LOAD,))]


def fails(source: str, target: Target) -> bool:
    """Whether a program fails when it is run; runs it in this process, with the subject at hand where it cannot be imported."""
    import torch

    scope: dict[str, Any] = {"__name__": "rnnspec_program", target.name.split(".")[-1]: target.factory}
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    try:
        with torch.random.fork_rng(devices=[]), _quiet():
            exec(compile(source.replace("torch.inference_mode().__enter__()", "torch.set_grad_enabled(False)"), "<program>", "exec"), scope)
    except Exception:
        return True
    finally:
        torch.set_grad_enabled(grad and not inference)
    return False


def shortest_proof(target: Target, finding: Finding) -> str:
    """The shortest program that fails for the subject: numbers from a seed, else the case's own numbers written out."""
    seeded = program(target, finding)
    if fails(seeded, target):
        return seeded
    literal = program(target, finding, literal=True)
    return literal if fails(literal, target) else seeded


def _quiet() -> Any:
    import warnings

    return warnings.catch_warnings(action="ignore") if hasattr(warnings, "catch_warnings") else None
