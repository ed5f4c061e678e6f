"""The stand-alone program that shows a failure of a model without rnnspec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnspec.models import snippets
from rnnspec.models.case import ModelCase
from rnnspec.models.infer import Interface
from rnnspec.rulekit.snippet import Snippet


def write_model_program(
    case: ModelCase,
    snippet: Snippet | None,
    interface: Interface,
    imports: Sequence[str],
    name: str,
    arguments: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> str:
    """A Python program that fails where the model breaks the rule and ends silently where it does not.

    `imports` are the lines that make `name` known, which is called with `arguments` to build the model.
    """
    given = ", ".join(f"{key}={value!r}" for key, value in (arguments or {}).items())
    there = "" if device == "cpu" else f".to({device!r})"
    batch, time = (0, 1) if interface.batch_first else (1, 0)
    return "\n".join(
        [
            "import torch",
            *imports,
            "",
            f"BATCH, TIME = {batch}, {time}",
            "",
            "",
            f"def build(seed={case.seed}):",
            "    torch.manual_seed(seed)",
            f"    return {name}({given}){there}.eval()",
            "",
            "",
            "def draw(batch, steps):",
            *_draw(interface, there),
            "",
            "",
            "model = build()",
            f"x = draw({case.batch}, {case.steps})",
            (snippet or snippets.CALL).code,
            "",
        ]
    )


def _draw(interface: Interface, there: str) -> list[str]:
    shape = "(batch, steps)" if interface.batch_first else "(steps, batch)"
    if not interface.takes_tokens:
        return [f"    return torch.randn(*{shape}, {interface.features}){there}"]
    drawn = f"torch.randint({interface.vocabulary}, {shape}){there}"
    if interface.padding is None:
        return [f"    return {drawn}"]
    other = (interface.padding + 1) % (interface.vocabulary or 1)
    return [
        f"    ids = {drawn}",
        f"    return ids.masked_fill(ids == {interface.padding}, {other})  # {interface.padding} is padding",
    ]
