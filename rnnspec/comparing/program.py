"""Write the stand-alone program that shows a fault of a candidate without rnnspec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from rnnspec.comparing.conditions import keep_weights
from rnnspec.comparing.evaluation import Pair, PairCase
from rnnspec.comparing.explanation import Cause
from rnnspec.comparing.modes import count_required
from rnnspec.comparing.recipe import Side, call_plainly
from rnnspec.comparing.sizes import CONTAINERS, Arguments
from rnnspec.comparing.weights import Moved

MOST_NUMBERS = 64
"""Larger tensors of integers are not written out."""
HELPERS = """\
def list_tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [each for one in values for each in list_tensors(one)]


def is_real(value):
    return torch.is_tensor(value) and value.is_floating_point()


def copy(values):
    return [each.clone() if torch.is_tensor(each) else each for each in values]


def check(got, expected, tolerances={tolerances}):
    for mine, theirs, tolerance in zip(list_tensors(got), list_tensors(expected), tolerances):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)"""
ONE_CALL = """\
with torch.no_grad():
    check(candidate(*copy(inputs)), reference(*copy(inputs)))"""
SECOND_CALL = """\
drawn = [torch.randn_like(each) if is_real(each) else each for each in inputs]
zeros = [drawn[0], *[each * 0 for each in drawn[1:]]]
mixed = copy(inputs)
for each in mixed:
    if is_real(each):
        middle = each.view(-1).tensor_split(3)[1]
        middle.copy_(middle.flip(0))
with torch.no_grad():
    for others in 6 * (drawn, mixed, drawn[:{count}], zeros):
        check(candidate(*inputs), reference(*copy(inputs)))
        check(candidate(*others), reference(*copy(others)))"""
SAME_ADDRESS = """\
with torch.no_grad():
    candidate(*inputs), reference(*copy(inputs))
    for each in inputs:
        if is_real(each):
            each.normal_()
    check(candidate(*inputs), reference(*copy(inputs)))"""
TWO_RESULTS = """\
with torch.no_grad():
    first = list_tensors(candidate(*copy(inputs)))
    kept = copy(first)
    candidate(*[torch.randn_like(each) if is_real(each) else each for each in inputs])
    check(first, kept)"""
ARGUMENTS = """\
given = copy(inputs)
with torch.no_grad():
    candidate(*given)
for before, after in zip(inputs, given):
    assert not torch.is_tensor(before) or torch.equal(before, after)"""
TWO_SEEDS = """\
with torch.no_grad():
    torch.manual_seed(1)
    first = candidate(*copy(inputs))
    torch.manual_seed(2)
    check(candidate(*copy(inputs)), first)"""
GRADIENTS = """\
def differentiate(module):
    leaves = [each.clone().requires_grad_() if is_real(each) else each for each in inputs]
    results = [each for each in list_tensors(module(*leaves)) if each.requires_grad]
    weights = [torch.linspace(512, 1536, each.numel()).reshape(each.shape) for each in results]
    total = sum((each * weight).sum() for each, weight in zip(results, weights))
    sources = [*filter(is_real, leaves), *module.parameters()]
    found = torch.autograd.grad(total, sources, allow_unused=True)
    assert all(each.grad is None for each in module.parameters())
    return found


for mine, theirs in zip(differentiate(candidate), differentiate(reference)):
    if theirs is not None and theirs.any():
        assert mine is not None
        torch.testing.assert_close(mine, theirs, rtol=0, atol={tolerance})"""
TURNED = """\
axes = [list(range(each.dim()))[::-1] if is_real(each) else [] for each in inputs]
turned = [
    each.permute(order).contiguous().permute(order) if order else each
    for each, order in zip(inputs, axes)
]
parts = []
for each in inputs:
    if torch.is_tensor(each):
        larger = torch.zeros([size + 2 for size in each.shape], dtype=each.dtype)
        for dimension, size in enumerate(each.shape):
            larger = larger.narrow(dimension, 1, size)
        each = larger.copy_(each)
    parts.append(each)
with torch.no_grad():
    check(candidate(*turned), reference(*turned))
    repeated = [
        each[:1].expand(each.shape) if is_real(each) and each.dim() > 1 else each for each in inputs
    ]
    check(candidate(*repeated), reference(*copy(repeated)))
    check(candidate(*parts), reference(*parts))"""
CHANGED_WEIGHTS = """\
theirs = dict(reference.named_parameters())
with torch.no_grad():
    candidate(*copy(inputs))
    for name, mine in candidate.named_parameters():
        for each in {mine, theirs.get(name, mine)}:
            each.mul_(2)
    check(candidate(*copy(inputs)), reference(*copy(inputs)))"""
USES = {
    Cause.EARLIER_CALL: SECOND_CALL,
    Cause.KEPT_STATE: SECOND_CALL,
    Cause.KEEPS_NO_STATE: SECOND_CALL,
    Cause.SAME_ADDRESS: SAME_ADDRESS,
    Cause.OVERWRITES_RESULT: TWO_RESULTS,
    Cause.OVERWRITES_INPUT: ARGUMENTS,
    Cause.RANDOM: TWO_SEEDS,
    Cause.STALE_WEIGHTS: CHANGED_WEIGHTS,
    Cause.GRADIENT: GRADIENTS,
    Cause.MEMORY_LAYOUT: TURNED,
    Cause.RAISES: "candidate(*copy(inputs))",
}
"""The code that uses `reference`, `candidate` and `inputs`, for causes that need other calls."""
WITHOUT = (Cause.SETTINGS, Cause.NOT_RANDOM, Cause.HALVES, Cause.SPREADS_NAN)
"""Causes without a program."""


def write_program(
    pair: Pair, case: PairCase, cause: Cause, tolerances: Sequence[float], gradient: float = 0.0
) -> str:
    """Return a program that fails if the two differ in a case, and ends silently otherwise.

    `tolerances` belong to the results, and `gradient` is the tolerance of gradients. The program is
    empty if the cause has no program, or if a program cannot import the two.
    """
    sides = (pair.recipe.reference, pair.recipe.candidate)
    # The same seed gives both the same weights, which only these conditions leave equal.
    is_seeded = pair.move.how is not Moved.VALUES or case.condition.is_linear
    is_plain = pair.recipe.call is call_plainly and is_seeded
    if cause in WITHOUT or any(each.is_module for each in sides) or not is_plain:
        return ""
    first, second = _name_sides(sides)
    use = USES.get(cause, ONE_CALL).replace("{tolerance}", f"{gradient:.2g}")
    use = use.replace("{count}", _count_inputs(pair, case))
    helpers = HELPERS.format(tolerances=tuple(float(f"{each:.2g}") for each in tolerances))
    sizes = list(_write_sizes(pair, case, sides))
    common = ["import torch", "import sys"] if sizes else ["import torch"]
    lines = [
        *_write_imports(sides, (first, second), common),
        "",
        *(
            line
            for text in (*case.condition.write_functions(), helpers)
            for line in ("", *text.splitlines(), "")
        ),
        "",
        *sizes,
        *_write_builds(pair, case, first, second),
        *_write_inputs(pair, case),
        *use.splitlines(),
    ]
    return "\n".join(lines) + "\n"


def _name_sides(sides: Sequence[Side]) -> tuple[str, str]:
    first, second = (each.target.name for each in sides)
    return (first, second) if first != second else (f"Reference{first}", second)


def _write_imports(
    sides: Sequence[Side], names: Sequence[str], first: Sequence[str]
) -> Iterator[str]:
    """Yield the first imports and the imports of both sides, without repetitions."""
    written = set(first)
    yield from first
    for side, name in zip(sides, names, strict=True):
        for line in side.target.imports:
            is_own = line.endswith(f"import {side.target.name}")
            if line not in written or is_own or not line.startswith(("import ", "sys.path")):
                yield f"{line} as {name}" if is_own and name != side.target.name else line
            written.add(line)


def _write_sizes(pair: Pair, case: PairCase, sides: Sequence[Side]) -> Iterator[str]:
    """Yield lines that set the global sizes of the files, which constructors may read."""
    spaces = list(dict.fromkeys(each.namespace for each in sides if each.namespace is not None))
    changed = {
        name: size for name, size in case.sizes.items() if size != pair.recipe.original[name]
    }
    if pair.recipe.spots is not None or not changed or not spaces:
        return
    names = ", ".join(f"sys.modules[{each.__name__!r}]" for each in spaces)
    yield f"sizes = {changed!r}"
    yield f"for module in [{names}]:"
    yield "    vars(module).update({key: sizes[key] for key in sizes if hasattr(module, key)})"


def _write_builds(pair: Pair, case: PairCase, first: str, second: str) -> Iterator[str]:
    with pair.recipe.use_sizes(case.sizes):
        given = _write_arguments(pair.recipe.make_initial(case.sizes))
    mode = ".train()" if case.training else ".eval()"
    prepare = case.condition.prepare
    arguments = ", ".join(["{}", *map(repr, case.condition.arguments)])
    for name, factory in (("reference", first), ("candidate", second)):
        yield f"torch.manual_seed({case.seed})"
        yield f"{name} = {factory}({given}){mode}"
        is_moved = name == "candidate" and pair.move.how in (Moved.NAMES, Moved.ORDER)
        if prepare is not keep_weights and not is_moved:
            yield f"{prepare.__name__}({arguments.format(name)})"
    if pair.move.how is Moved.NAMES:
        yield "candidate.load_state_dict(reference.state_dict())"
    elif pair.move.how is Moved.ORDER:
        partners = pair.find_move(case.sizes, *pair.build_both(case)).partners
        yield f"partners = {dict(partners)!r}"
        yield "theirs = dict(reference.named_parameters())"
        yield "for name, mine in candidate.named_parameters():"
        yield "    value = theirs[partners[name]].data"
        yield "    mine.data.copy_(value if value.shape == mine.shape else value.T)"


def _write_arguments(given: Arguments) -> str:
    named = (f"{name}={value!r}" for name, value in given.named.items())
    return ", ".join([*map(repr, given.positional), *named])


def _write_inputs(pair: Pair, case: PairCase) -> Iterator[str]:
    given = pair.recipe.make_inputs(case.sizes, case.seed)
    if case.count is not None:
        given = Arguments(given.positional[: case.count])
    yield f"torch.manual_seed({case.seed})"
    yield "inputs = ["
    for index, value in enumerate(given.list_values()):
        is_zero = index in pair.zeroed
        yield f"    {_write_value(value, is_zero, pair.recipe.flags.get(index))},"
    yield "]"
    yield from write_form(given)
    condition = case.condition
    if condition.factor != 1.0 or condition.held is not None:
        yield (
            f"inputs = [scale_inputs(each, {condition.factor}, {condition.held}) "
            "if torch.is_tensor(each) and each.is_floating_point() else each for each in inputs]"
        )


class _Source(str):
    """Source code, which stands without quotes in the `repr` of a tuple, list or dictionary."""

    __slots__ = ()
    __repr__ = str.__str__


def write_form(given: Arguments) -> Iterator[str]:
    """Yield lines that pass inputs to both modules in tuples, lists and dictionaries again."""
    count = len(given.list_values())
    arranged = given.replace_values([_Source(f"given[{index}]") for index in range(count)])
    form = (*arranged.positional, *arranged.named.values())
    if any(type(each) in CONTAINERS for each in form):
        yield "for each in (reference, candidate):"
        yield "    each.register_forward_pre_hook("
        yield f"        lambda _, given: {form!r} if len(given) == {count} else given"
        yield "    )"


def _count_inputs(pair: Pair, case: PairCase) -> str:
    """Return the number of tensors and other values that must be given; "" if all must."""
    count = count_required(pair, case)
    required = Arguments(pair.make_given(case).positional[:count])
    return "" if count is None else str(len(required.list_values()))


def _write_value(value: Any, is_zero: bool = False, flags: Tensor | None = None) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    shape = ", ".join(map(str, value.shape))
    scaled, last = " * 0" if is_zero else "", tuple(value.shape[-1:])
    if flags is not None:
        drawn = f"torch.randint({len(flags)}, ({shape},)) * torch.randint(2, {last}){scaled}"
        return f"torch.tensor({flags.tolist()})[{drawn}]"
    if value.is_floating_point():
        return f"torch.randn({shape or '()'}){scaled}"
    if value.numel() <= MOST_NUMBERS:
        return f"torch.tensor({value.tolist()}, dtype={value.dtype})"
    return f"torch.randint({int(value.max()) + 1}, ({shape},), dtype={value.dtype})"
