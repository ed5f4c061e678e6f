"""Run the smallest examples of deviations in released libraries, and write the page about them.

`--record` runs the examples whose libraries are installed, and stores their output with the
versions. `--write` makes docs/released.md from the examples and the stored output.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tables import fill_table, make_parser, rewrite_page

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "released"
STORED = Path(__file__).parent / "recorded" / "released.json"
PAGE, MARKER = "released.md", "released"
NOT_LOOKED = "not looked for"
NOT_FOUND = "none found"
"""The text for a deviation about which a search on 2026-11-28 found no public thread."""


@dataclass(frozen=True)
class Deviation:
    """One deviation.

    example    the name of the script
    packages   the packages that it is about
    rules      the rules that reported it; none, if `smoke` or the library did
    report     the public report that is known
    variables  environment variables for a second run of the script
    """

    example: str
    packages: tuple[str, ...]
    rules: tuple[str, ...]
    report: str = NOT_LOOKED
    variables: dict[str, str] = field(default_factory=dict)


DEVIATIONS = (
    Deviation(
        "keras_matmul",
        ("keras", "torch", "jax"),
        ("recurrence.output", "packed.h-n"),
        "keras-team/keras #23704",
        variables={"KERAS_BACKEND": "jax"},
    ),
    Deviation("jax_scan_gradient", ("jax",), ("gradients.input",), NOT_FOUND),
    Deviation("flax_gru_bias", ("flax",), ("gates.alone",), "google/flax #5594"),
    Deviation(
        "mlx_sigmoid",
        ("mlx",),
        ("recurrence.output", "cell-state.final"),
        "ml-explore/mlx #3047",
    ),
    Deviation("onnx_reference_lengths", ("onnx",), ("packed.output",), NOT_FOUND),
    Deviation("onnx_reference_relu", ("onnx",), ("nonlinearity.relu",), NOT_FOUND),
    Deviation("onnxruntime_empty_batch", ("onnxruntime",), ("shapes.empty-batch",), NOT_FOUND),
    Deviation(
        "onnxruntime_nan",
        ("onnxruntime",),
        ("nonlinearity.nan", "nonlinearity.infinite"),
        NOT_FOUND,
    ),
    Deviation("onnxruntime_gru_tanh", ("onnxruntime",), ("recurrence.exact",), NOT_FOUND),
    Deviation(
        "torch_quantize_dynamic",
        ("torch",),
        ("shapes.returns-pair", "layouts.unbatched"),
        NOT_FOUND,
    ),
    Deviation("torch_autocast", ("torch",), ("shapes.returns-pair", "packed.padding"), NOT_FOUND),
)


def record() -> None:
    """Run the examples whose packages are installed, and store their output."""
    stored = read_stored()
    for each in DEVIATIONS:
        try:
            versions = {name: importlib.metadata.version(name) for name in each.packages}
        except importlib.metadata.PackageNotFoundError:
            continue
        printed = [_run(each, {})] + ([_run(each, each.variables)] if each.variables else [])
        stored[each.example] = {"versions": versions, "printed": "\n".join(printed)}
    STORED.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _run(deviation: Deviation, variables: dict[str, str]) -> str:
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / f"{deviation.example}.py")]
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return re.sub(r"\x1b\[\d+m", "", done.stdout).strip()


def read_stored() -> dict[str, Any]:
    """Return the stored output of the examples by name."""
    return dict(json.loads(STORED.read_text("utf-8"))) if STORED.exists() else {}


def format_deviations() -> str:
    """Return the sections of the page."""
    stored = read_stored()
    return "\n\n".join("\n".join(_format(each, stored[each.example])) for each in DEVIATIONS)


def _format(deviation: Deviation, stored: dict[str, Any]) -> Iterator[str]:
    source = (EXAMPLES / f"{deviation.example}.py").read_text("utf-8")
    title, code = source.removeprefix('"""').split('"""\n', 1)
    versions = ", ".join(f"{name} {version}" for name, version in stored["versions"].items())
    rules = ", ".join(f"[{rule}](rules/{rule}.md)" for rule in deviation.rules)
    reported = f"reported by {rules}" if rules else "found while the adapter was written"
    yield f"### {' '.join(title.split()).removesuffix('.')}"
    yield ""
    yield f"Seen in {versions}; {reported}. Public report: {deviation.report}."
    yield ""
    yield f"```python\n{code.strip()}\n```"
    yield ""
    yield f"```text\n{stored['printed']}\n```"


def fill(page: str) -> str:
    """Return the page with the sections."""
    return fill_table(page, MARKER, format_deviations())


def main() -> int:
    """Run the examples, and write the page, as asked."""
    parser = make_parser(__doc__)
    parser.add_argument("--record", action="store_true", help="run the examples")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE}")
    options = parser.parse_args()
    if options.record:
        record()
    if options.write:
        rewrite_page(PAGE, fill)
    return 0


if __name__ == "__main__":
    sys.exit(main())
