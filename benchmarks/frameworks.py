"""Check the layers of other libraries through the adapters of `rnnspec.frameworks`.

Each library has an extra. `--record keras` checks the layers of one group in the present
environment and writes the results to benchmarks/recorded/frameworks/. `--write` makes the tables of
docs/frameworks.md from all recorded results, and checks nothing. `--programs opacus` adds programs
to recorded faults without one, for which it checks only the rules of these faults.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rnnspec
from benchmarks.tables import fill_tables, format_table, make_parser, rewrite_page, show_progress
from rnnspec.report.data import PartVerdict, Report, Result, Verdict

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "recorded" / "frameworks"
PAGE = "frameworks.md"
KINDS = ("RNN", "GRU", "LSTM")
PARTS = ("values", "gradients")
NUMPY = "examples/numpy_engine.py#def run_engine"
"""A file, and how the first line begins that is of an adapter and not of the adapted class."""


@dataclass(frozen=True)
class Group:
    """The layers of one library.

    title       the name of the library
    place       the place of the adapters, written like a target
    files       the source of the adapters, first their own
    packages    the packages whose versions count
    extra       the extra that installs them
    layers      the names of the targets
    variables   environment variables that have to be set
    options     further options of the check
    is_adapted  whether the layers need an adapter
    """

    title: str
    place: str
    files: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str = ""
    layers: tuple[str, ...] = KINDS
    variables: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    is_adapted: bool = True


def make_group(title: str, module: str, *packages: str, **more: Any) -> Group:
    """Return the group of a module of `rnnspec.frameworks`, whose extra has the same name."""
    own = f"rnnspec/frameworks/{module}.py"
    files = (own, *more.pop("shared", ()))
    extra = more.pop("extra", module)
    return Group(title, f"rnnspec.frameworks.{module}", files, packages, extra, **more)


def make_mode(name: str, **options: Any) -> Group:
    """Return the group of the layers of torch in one of its modes."""
    layers = tuple(f"{name}{kind}" for kind in KINDS)
    return Group(
        f"torch, {MODES[name]}",
        "rnnspec.frameworks.torch_modes",
        (f"rnnspec/frameworks/torch_modes.py#def run_{name.lower()}",),
        ("torch",),
        layers=layers,
        options=options,
        is_adapted=False,
    )


def make_drop_in(title: str, place: str, package: str, layers: tuple[str, ...]) -> Group:
    """Return the group of layers that have the interface of torch's layers, without an adapter."""
    return Group(title, place, (), (package,), layers=layers, is_adapted=False)


MODES = {
    "Compiled": "torch.compile",
    "Exported": "torch.export, dynamic batch",
    "Scripted": "torch.jit.script",
    "Functional": "functional_call",
    "Autocast": "autocast to bfloat16",
    "Quantised": "weights quantised to float16",
}
COMPILES = {"sizes": "pool", "cases": 12, "without": ("second-order",), "parts": PARTS}
"""Options for layers that are compiled anew for every shape."""
SHARED = ("rnnspec/frameworks/onnx_nodes.py",)
GROUPS = {
    "numpy": Group("a class in NumPy", "examples/numpy_engine.py", (NUMPY,), ("numpy",)),
    "keras-torch": make_group(
        "Keras on torch",
        "keras",
        "keras",
        "torch",
        variables={"KERAS_BACKEND": "torch"},
        options={"cases": 80},
    ),
    "keras-jax": make_group(
        *("Keras on JAX", "keras", "keras", "jax"),
        variables={"KERAS_BACKEND": "jax"},
        options=COMPILES,
    ),
    "flax": make_group(
        *("Flax", "flax", "flax", "jax"), layers=(*KINDS, "GRUWithoutBias"), options=COMPILES
    ),
    "equinox": make_group(
        *("Equinox", "equinox", "equinox", "jax"), layers=("GRU", "LSTM"), options=COMPILES
    ),
    "haiku": make_group(
        *("Haiku", "haiku", "dm-haiku", "jax"), layers=("RNN", "LSTM"), options=COMPILES
    ),
    "mlx": make_group("MLX", "mlx", "mlx"),
    "onnxruntime": make_group("ONNX Runtime", "onnxruntime", "onnxruntime", "onnx", shared=SHARED),
    "onnx_reference": make_group(
        "the reference of ONNX", "onnx_reference", "onnx", shared=SHARED, extra="onnx"
    ),
    "opacus": make_drop_in("Opacus", "opacus.layers", "opacus", ("DPRNN", "DPGRU", "DPLSTM")),
    "functional": make_mode("Functional", cases=100),
    "autocast": make_mode(
        *("Autocast",), dtype="bfloat16", cases=100, parts=PARTS, without=("meta", "second-order")
    ),
    "quantised": make_mode(
        *("Quantised",), dtype="float16", cases=100, parts=("values",), without=("meta",)
    ),
    "scripted": make_mode("Scripted", sizes="pool", parts=PARTS, cases=20),
    "exported": make_mode("Exported", sizes="pool", parts=PARTS, cases=20),
    "compiled": make_mode("Compiled", sizes="pool", parts=("values",), cases=4),
}


def count_lines(files: Sequence[str]) -> int:
    """Return how many lines of code files have, without docstrings, imports and empty lines."""
    return sum(len(list(_list_code(name))) for name in files)


def describe_length(group: Group) -> tuple[str, str, str]:
    """Return the lines of code of a module of adapters, how many layers it declares, and the lines
    a layer, in which what the module shares with others counts in full.
    """
    if not group.files:
        return "none", "", ""
    own, *shared = group.files
    rest = f", and {count_lines(shared)} shared" if shared else ""
    each = math.ceil(count_lines(group.files) / len(group.layers))
    return f"{count_lines([own])}{rest}", str(len(group.layers)), str(each)


def _list_code(name: str) -> Iterator[str]:
    path, _, start = name.partition("#")
    text = (ROOT / path).read_text("utf-8")
    text = text[text.index(start) :]
    if start.startswith("def ") and path.startswith("rnnspec"):
        text = text.split("\n\n\n")[0]  # the function alone
    text = re.sub(r'^\s*""".*?"""\n', "", text, flags=re.DOTALL | re.MULTILINE)
    for line in text.splitlines():
        if line.strip() and not line.startswith(("import ", "from ", "#", "os.")):
            yield line


def record_layer(group: Group, layer: str) -> dict[str, Any]:
    """Check one layer and return the outcome as data."""
    target = f"{group.place}:{layer}"
    os.environ.update(group.variables)
    begun = time.perf_counter()
    report = rnnspec.check(target, isolate=True, profile="quick", **group.options)
    return {
        "library": group.title,
        "layer": layer,
        "target": target,
        "versions": {name: importlib.metadata.version(name) for name in group.packages},
        "torch": importlib.metadata.version("torch"),
        "python": platform.python_version(),
        "options": group.options,
        "duration_s": round(time.perf_counter() - begun, 1),
        "verdict": report.verdict.value,
        "summary": _summarise(report),
        "parts": {part.value: _describe_part(each) for part, each in report.parts.items()},
        "lacks": {feature.text: reason for feature, reason in report.unsupported.items()},
        "notes": list(report.notes),
        "faults": [_describe_fault(report, each.rule) for each in report.faults],
    }


def _summarise(report: Report) -> str:
    checked = [each for each in report.results if each.cases]
    return f"{len(checked)} of {len(report.results)} rules"


def _describe_part(part: PartVerdict) -> str:
    if part.faults:
        return f"{part.faults} {'fault' if part.faults == 1 else 'faults'}"
    if not part.rules:
        return "not checked"
    if part.doubtful:
        return f"{part.doubtful} of {part.rules} rules could not be checked"
    if part.unreached:
        return f"holds; {part.unreached} of {part.rules} rules reached too rarely"
    return "conforms"


def _describe_fault(report: Report, rule: str) -> dict[str, Any]:
    result = report.result(rule)
    fault = next(each for each in report.faults if each.rule == rule)
    example = result.counterexample
    return {
        "rule": rule,
        "level": result.level.value,
        "message": result.message,
        "cause": fault.likely_cause,
        "situation": fault.situation,
        "smallest": "" if example is None else example.text,
        **_describe_program(result),
    }


def _describe_program(result: Result) -> dict[str, str]:
    """Return the program that shows a fault, with the torch that it was compared with, or why not.

    The program needs torch as the reference, which may be newer than that of the recorded run.
    """
    torch = importlib.metadata.version("torch")
    if result.repro is not None:
        return {"program": result.repro, "program_torch": torch}
    if result.verdict is not Verdict.FAIL:
        return {"no_program": f"with torch {torch}, the rule does not fail in this command"}
    return {"no_program": result.no_repro or "the rule fails only because of another fault"}


def add_programs(group: Group, layer: str, found: dict[str, Any]) -> None:
    """Check the rules of recorded faults without a program, and add their programs to the record.

    Nothing is added if the packages are of other versions.
    """
    versions = {name: importlib.metadata.version(name) for name in found["versions"]}
    rules = [each["rule"] for each in found["faults"] if "program" not in each]
    if versions != found["versions"] or not rules:
        print(f"{found['library']} {layer}: {found['versions']} recorded, {versions} installed")
        return
    os.environ.update(group.variables)
    target = f"{group.place}:{layer}"
    # A rule may fail because of another one in a run of both, and has a program in its own run.
    for chosen in (rules, *([rule] for rule in rules)):
        lacking = {each["rule"]: each for each in found["faults"] if "program" not in each}
        if not lacking.keys() & {*chosen}:
            continue
        options = {**group.options, "rules": chosen}
        report = rnnspec.check(target, isolate=True, profile="quick", **options)
        for rule in lacking.keys() & {*chosen}:
            lacking[rule].pop("no_program", None)
            lacking[rule] |= _describe_program(report.result(rule))


def read_recorded() -> list[dict[str, Any]]:
    """Return the recorded results, in the order of the groups."""
    found = []
    for name, group in GROUPS.items():
        for layer in group.layers:
            path = RECORDED / f"{name}-{layer}.json"
            if path.exists():
                found.append({**json.loads(path.read_text("utf-8")), "group": name})
    return found


def format_results(recorded: Sequence[dict[str, Any]]) -> str:
    """Return the table of layers with the verdicts by part."""
    length = ("lines of the module", "layers in it", "lines a layer")
    parts = ("values", "gradients", "module")
    head = ("library", "layer", *length, *parts, "rules checked", "time")
    rows = [
        (
            f"{each['library']} {_format_versions(each['versions'])}",
            each["layer"],
            *describe_length(GROUPS[each["group"]]),
            *(each["parts"].get(part, "") for part in parts),
            each["summary"],
            f"{each['duration_s']:.0f} s",
        )
        for each in recorded
    ]
    return format_table(head, rows)


def _format_versions(versions: dict[str, str]) -> str:
    return ", ".join(dict.fromkeys(versions.values()))


def format_faults(recorded: Sequence[dict[str, Any]]) -> str:
    """Return the table of the results."""
    rows = [
        (each["library"], each["layer"], f"`{fault['rule']}`", _shorten(fault))
        for each in recorded
        for fault in each["faults"]
    ]
    return format_table(("library", "layer", "rule", "message of the check"), rows)


def _shorten(fault: dict[str, Any]) -> str:
    text = " ".join(
        filter(None, [fault["message"], fault["situation"] and f"({fault['situation']})"])
    )
    return " ".join(text.split()).replace("|", "\\|")


def fill(page: str) -> str:
    """Return the page with the tables of all recorded results."""
    recorded = read_recorded()
    texts = {
        "frameworks.results": format_results(recorded),
        "frameworks.faults": format_faults(recorded),
    }
    return fill_tables(page, texts)


def main() -> int:
    """Record the groups that are named, and write the page."""
    parser = make_parser(__doc__)
    parser.add_argument("--record", nargs="*", choices=GROUPS, default=[], help="groups to check")
    parser.add_argument(
        "--programs", nargs="*", choices=GROUPS, default=[], help="groups that need programs"
    )
    parser.add_argument("--layer", nargs="*", help="only these layers of them")
    parser.add_argument("--write", action="store_true", help=f"write the tables of docs/{PAGE}")
    options: argparse.Namespace = parser.parse_args()
    RECORDED.mkdir(parents=True, exist_ok=True)
    for name in options.record:
        for layer in options.layer or GROUPS[name].layers:
            show_progress(f"{name}: {layer}")
            found = record_layer(GROUPS[name], layer)
            _write_record(name, layer, found)
            print(f"{name} {layer}: {found['verdict']} in {found['duration_s']} s")
    for name in options.programs:
        for layer in options.layer or GROUPS[name].layers:
            found = json.loads((RECORDED / f"{name}-{layer}.json").read_text("utf-8"))
            add_programs(GROUPS[name], layer, found)
            _write_record(name, layer, found)
    if options.write:
        rewrite_page(PAGE, fill)
    return 0


def _write_record(name: str, layer: str, found: dict[str, Any]) -> None:
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (RECORDED / f"{name}-{layer}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
