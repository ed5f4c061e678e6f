"""Write the stand-alone program that shows a fault of a candidate without rnnspec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from rnnspec.comparing.conditions import keep_weights
from rnnspec.comparing.evaluation import Case, Pair
from rnnspec.comparing.recipe import Side, call_plainly
from rnnspec.comparing.sizes import Given
from rnnspec.comparing.weights import Moved

MOST_NUMBERS = 64
"""Larger tensors of integers are not written out."""
HELPER = """\
def list_tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [each for one in values for each in list_tensors(one)]"""
COMPARE = """\
with torch.no_grad():
    got = list_tensors(candidate(*{copies}))
    expected = list_tensors(reference(*{copies}))
for mine, theirs, tolerance in zip(got, expected, {tolerances}):
    torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)"""
COPIES = "[each.clone() if isinstance(each, torch.Tensor) else each for each in inputs]"


def write_program(
    pair: Pair, case: Case, tolerances: Sequence[float], body: str | None = None
) -> str:
    """Return a program that fails if the two differ in a case, and ends silently otherwise.

    `body` is what it does with `reference`, `candidate` and `inputs`, if that is not one call. The
    program is empty if the two cannot be imported by it.
    """
    sides = (pair.recipe.reference, pair.recipe.candidate)
    is_plain = pair.recipe.call is call_plainly and pair.move.how is not Moved.VALUES
    if any(each.is_module for each in sides) or not is_plain:
        return ""
    first, second = _name_sides(sides)
    use = body or COMPARE.format(copies=COPIES, tolerances=[float(f"{t:.2g}") for t in tolerances])
    functions = [*case.condition.write_functions(), HELPER]
    lines = [
        "import torch",
        *_write_imports(sides, (first, second)),
        "",
        *(line for text in functions for line in ("", *text.splitlines(), "")),
        "",
        *_write_sizes(pair, case, sides),
        *_write_builds(pair, case, first, second),
        *_write_inputs(pair, case),
        *use.splitlines(),
    ]
    return "\n".join(lines) + "\n"


def _name_sides(sides: Sequence[Side]) -> tuple[str, str]:
    first, second = (each.target.name for each in sides)
    return (first, second) if first != second else (f"Reference{first}", second)


def _write_imports(sides: Sequence[Side], names: Sequence[str]) -> Iterator[str]:
    written: set[str] = set()
    for side, name in zip(sides, names, strict=True):
        for line in side.target.imports:
            if line not in written or "sys.path" not in line:
                is_own = line.endswith(f"import {side.target.name}")
                renamed = is_own and name != side.target.name
                written.add(line)
                yield f"{line} as {name}" if renamed else line


def _write_sizes(pair: Pair, case: Case, sides: Sequence[Side]) -> Iterator[str]:
    """Yield lines that set the global sizes of the files, which constructors may read."""
    spaces = list(dict.fromkeys(each.namespace for each in sides if each.namespace is not None))
    changed = {
        name: size for name, size in case.sizes.items() if size != pair.recipe.original[name]
    }
    if pair.recipe.spots is not None or not changed or not spaces:
        return
    yield f"sizes = {changed!r}"
    names = ", ".join(f"sys.modules[{each.__name__!r}]" for each in spaces)
    yield "import sys"
    yield f"for module in [{names}]:"
    yield "    vars(module).update({key: sizes[key] for key in sizes if hasattr(module, key)})"


def _write_builds(pair: Pair, case: Case, first: str, second: str) -> Iterator[str]:
    with pair.recipe.use_sizes(case.sizes):
        given = _write_arguments(pair.recipe.make_initial(case.sizes))
    mode = ".train()" if case.training else ".eval()"
    prepare = case.condition.prepare
    arguments = ", ".join(["{}", *map(repr, case.condition.arguments)])
    for name, factory in (("reference", first), ("candidate", second)):
        yield f"torch.manual_seed({case.seed})"
        yield f"{name} = {factory}({given}){mode}"
        is_moved = name == "candidate" and pair.move.how is not Moved.SEED
        if prepare is not keep_weights and not is_moved:
            yield f"{prepare.__name__}({arguments.format(name)})"
    if pair.move.how is Moved.NAMES:
        yield "candidate.load_state_dict(reference.state_dict())"
    elif pair.move.how is Moved.ORDER:
        yield "for mine, theirs in zip(candidate.parameters(), reference.parameters()):"
        yield "    mine.data.copy_(theirs.data)"


def _write_arguments(given: Given) -> str:
    named = (f"{name}={value!r}" for name, value in given.named.items())
    return ", ".join([*map(repr, given.positional), *named])


def _write_inputs(pair: Pair, case: Case) -> Iterator[str]:
    given = pair.recipe.make_inputs(case.sizes, case.seed)
    if case.count is not None:
        given = Given(given.positional[: case.count])
    yield f"torch.manual_seed({case.seed})"
    yield "inputs = ["
    for index, value in enumerate(given.list_values()):
        is_zero = index in pair.zeroed
        yield f"    {_write_value(value, is_zero)},"
    yield "]"
    condition = case.condition
    if condition.factor != 1.0 or condition.held is not None:
        yield (
            f"inputs = [scale_inputs(each, {condition.factor}, {condition.held}) "
            "if torch.is_tensor(each) and each.is_floating_point() else each for each in inputs]"
        )


def _write_value(value: Any, is_zero: bool) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    shape = ", ".join(map(str, value.shape))
    if value.is_floating_point():
        scaled = " * 0" if is_zero else ""
        return f"torch.randn({shape or '()'}){scaled}"
    if value.numel() <= MOST_NUMBERS:
        return f"torch.tensor({value.tolist()}, dtype={value.dtype})"
    return f"torch.randint({int(value.max()) + 1}, ({shape},), dtype={value.dtype})"
