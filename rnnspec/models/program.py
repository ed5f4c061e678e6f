"""Write a stand-alone program that reproduces a fault of a model without rnnspec."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from rnnspec.models import snippets
from rnnspec.models.call import find_free_names, wrap_created, wrap_states
from rnnspec.models.case import ModelCase
from rnnspec.models.infer import Interface
from rnnspec.rulekit.snippet import Snippet, Source, is_call_of

FIT = """\
def fit(made, model, x):
    if made.is_floating_point():
        return made.to(next(model.parameters()))
    return made if made.dim() == 1 else made.to(x.device)"""
"""The function that moves tensors of a call to the device and the dtype of the model, so that the
program fails only because of the model.
"""

MOVE = """\
def move(state, model):
    like = next(model.parameters())
    return torch.utils._pytree.tree_map(lambda h: h.to(like), state)"""
"""The function that does the same for states that a method of the model makes."""


def write_model_program(
    case: ModelCase,
    snippet: Snippet | None,
    interface: Interface,
    imports: Sequence[str],
    name: str,
    arguments: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> str:
    """Return a Python program that fails if the model breaks the rule, and otherwise ends silently.

    `imports` are the lines that define `name`, which builds the model when called with `arguments`.
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
            *_write_predict(interface),
            "model = build()",
            *_write_use(case, snippet or snippets.CALL, interface),
            "",
        ]
    )


def _write_use(case: ModelCase, snippet: Snippet, interface: Interface) -> list[str]:
    """Return the lines of a snippet, after a line that draws its input if needed."""
    code = _shorten_calls(snippet.code) if interface.call.is_plain else snippet.code
    drawn = [] if snippet.draws_input else [f"x = draw({case.batch}, {case.steps})"]
    return [*drawn, code]


def _write_predict(interface: Interface) -> list[str]:
    """Return the function `predict`, or nothing if the call passes only the input."""
    call = interface.call
    if call.is_plain:
        return []
    lines = ["    batch, steps = x.shape[BATCH], x.shape[TIME]"]
    if call.takes_lengths:
        full = "torch.full((batch,), steps)"
        lines.append(f"    lengths = {full} if lengths is None else lengths")
    if call.takes_state:
        lines.append(f"    state = move({call.state or None}, model)")
    if not {"batch", "steps"} & {
        *find_free_names(call.expression),
        *find_free_names(call.state or "None"),
    }:
        lines = [line for line in lines if call.takes_lengths or "batch, steps" not in line]
    given = "model, x, lengths=None" if call.takes_lengths else "model, x"
    moved = wrap_states(call.expression, "move")
    expression = wrap_created(moved, "fit")
    functions = [FIT, "", ""] if expression != moved else []
    functions += [MOVE, "", ""] if call.takes_state or moved != call.expression else []
    return [*functions, f"def predict({given}):", *lines, f"    return {expression}", "", ""]


def _shorten_calls(code: str) -> str:
    """Return code that calls the model directly, for a model that takes only its input."""
    source = Source(code)
    calls = [node for node in ast.walk(source.tree) if is_call_of(node, "predict")]
    for call in calls:
        model, x, *_ = call.args
        source.replace_between(source.find_start(call), source.find_start(model), "")
        source.replace_between(source.find_end(model), source.find_start(x), "(")
    return source.write()


def _write_draw_body(interface: Interface, to_device: str) -> list[str]:
    shape = "(batch, steps)" if interface.batch_first else "(steps, batch)"
    if not interface.takes_tokens:
        dtype = f", dtype={interface.dtype}" if interface.dtype else ""
        return [f"    return torch.randn(*{shape}, {interface.features}{dtype}){to_device}"]
    padding = interface.padding
    drawn = f"torch.randint({interface.vocabulary}, {shape}){to_device}"
    if padding is None:
        return [f"    return {drawn}"]
    other = (padding + 1) % (interface.vocabulary or 1)
    return [
        f"    ids = {drawn}",
        f"    return ids.masked_fill(ids == {padding}, {other})  # {padding} is padding",
    ]
