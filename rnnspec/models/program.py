"""Write the stand-alone program that shows a fault of a model without rnnspec."""

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
    """Return a Python program that fails if the model breaks the rule, and else ends silently.

    `imports` are the lines that define `name`, which is called with `arguments` to build the model.
    Without a snippet, the program only calls the model.
    """
    given = ", ".join(f"{key}={value!r}" for key, value in (arguments or {}).items())
    to_device = "" if device == "cpu" else f".to({device!r})"
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
            f"    return {name}({given}){to_device}.eval()",
            "",
            "",
            "def draw(batch, steps):",
            *_write_draw_body(interface, to_device),
            "",
            "",
            "model = build()",
            f"x = draw({case.batch}, {case.steps})",
            (snippet or snippets.CALL).code,
            "",
        ]
    )


def _write_draw_body(interface: Interface, to_device: str) -> list[str]:
    shape = "(batch, steps)" if interface.batch_first else "(steps, batch)"
    if not interface.takes_tokens:
        return [f"    return torch.randn(*{shape}, {interface.features}){to_device}"]
    padding = interface.padding
    drawn = f"torch.randint({interface.vocabulary}, {shape}){to_device}"
    if padding is None:
        return [f"    return {drawn}"]
    other = (padding + 1) % (interface.vocabulary or 1)
    return [
        f"    ids = {drawn}",
        f"    return ids.masked_fill(ids == {padding}, {other})  # {padding} is padding",
    ]
