"""Infer the role of each argument of `forward` from its name, and write calls that fit."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice, product
from math import prod
from typing import Any

from torch import nn

from rnnspec.models.copying import CallableModule
from rnnspec.models.layers import find_layers, is_recurrent
from rnnspec.subjects.documented import find_documented_kind

MOST_CALLS = 72
"""The maximal number of calls to try."""

LENGTHS = re.compile(
    r"(\w+_)?[a-z]{0,5}(len|lens|length|lengths|lenght|lenghts|seq_?lens?|seq_?lengths?)_?\d?"
    r"|(\w+_)?input_?lengths?_?\d?"
)
STATE = re.compile(
    r"h|hx|hc|hs|hid|h_?[0nt]|h_prev|prev_h|(\w+_)?hiddens?(_0|_state|_states|_prev)?|hidden_?0"
    r"|(\w+_)?states?(_0|_prev)?|initial|prev"
)
CELL = re.compile(r"c|cx|cs|c_?[0nt]|c_prev|prev_c|(\w+_)?cells?(_0|_state|_states)?|c_states?")
BATCH = re.compile(r"bs|bsz|batch|batch_?sizes?|n_?batch|num_?batch|batch_?n")
STEPS = re.compile(r"steps|n_?steps|num_?steps|time_?steps|max_?(len|length|steps)|total_?length")

INITIAL_STATE = re.compile(
    r"(get_|make_|create_)?(init|initial|initialize|initialise|begin|zero|new)_?"
    r"(hiddens?|states?|h|hidden_?states?)"
)
"""Names of methods that return an initial state."""
INITIAL_CELL = re.compile(
    r"(get_|make_|create_)?(init|initial|initialize|initialise|begin|zero|new)_?(cells?|c)(_?states?)?"
)
"""Names of methods that return an initial cell state, beside a method for the hidden state."""
RESET = re.compile(r"(reset|clear)_?(hiddens?|states?|hidden_?states?|memory|h)")
"""Names of methods that reset the state that the model keeps."""


RATIO = re.compile(
    r"teacher\w*|use_teacher\w*|tf|tfr|tf_?ratio|(\w+_)?sampl\w*_?(prob|ratio)\w*|ss_prob"
)
SCALE = re.compile(r"temperature|temp|tau")
SWITCH = re.compile(
    r"(is|return|use|do|get|with|need)_\w+|train|training|test|testing|inference|infer|sample|debug"
    r"|reset|verbose|greedy|generate"
)
DEVICE = re.compile(r"device")
COUNT = re.compile(r"future\w*|horizon|pred_len|n_ahead|epoch|step|t|i|timestep|time_step")
MASK = re.compile(r"(\w+_)?masks?\d?|(\w+_)?mask_\w+")
MEMORY = re.compile(
    r"enc(oder|oded)?_?(out|outs|output|outputs|feature|features|states|hiddens|memory|seq|op)s?"
    r"|(\w+_)?memory(_bank)?|annotations?|context\w*|(\w+_)?encodings?|enc_?hs|keys?|values?"
)
IMAGE = re.compile(
    r"(\w+_)?(images?|imgs?|pictures?|photos?|visuals?|vis)(_?(features?|feats?|vecs?|embeds?))?"
    r"|(cnn|global|static|context|conv|resnet)_?(features?|feats?)|features?|feats?|latents?|z"
)
TARGET = re.compile(
    r"(trg|tgt|targets?|dst|dest|captions?|caps?|labels?|tags?|gold|y|ys|y_\w+|dec(oder)?_?(in|inp|"
    r"inputs?|seq\w*|tokens?)|(target|tgt|trg|output|out|label|caption|dec|answer)_?(seqs?|sequences?|"
    r"inputs?|ids?|tokens?|batch|tensor|variable|var|words|y|len_y|hist\w*))"
)
TOKENS = re.compile(
    r"captions?|caps?|tokens?|texts?|words?|sentences?|ids?|(\w+_)?ids|sents?|reports?|questions?"
)


class ArgumentRole(Enum):
    """The role of an argument of `forward`, inferred from its name."""

    INPUT = "input"
    LENGTHS = "lengths"
    STATE = "state"
    CELL = "cell state"
    BATCH = "batch size"
    STEPS = "number of steps"
    RATIO = "how often a decoder is given the right answer"
    SCALE = "temperature"
    SWITCH = "switch"
    DEVICE = "device"
    COUNT = "number of further steps"
    MASK = "mask"
    MEMORY = "outputs of an encoder"
    IMAGE = "features of a whole sample"
    TARGET = "right answer"
    UNKNOWN = "unknown"


PATTERNS = {
    ArgumentRole.STEPS: STEPS,
    ArgumentRole.LENGTHS: LENGTHS,
    ArgumentRole.MEMORY: MEMORY,
    ArgumentRole.CELL: CELL,
    ArgumentRole.STATE: STATE,
    ArgumentRole.BATCH: BATCH,
    ArgumentRole.RATIO: RATIO,
    ArgumentRole.SCALE: SCALE,
    ArgumentRole.SWITCH: SWITCH,
    ArgumentRole.DEVICE: DEVICE,
    ArgumentRole.COUNT: COUNT,
    ArgumentRole.MASK: MASK,
    ArgumentRole.TARGET: TARGET,
    ArgumentRole.IMAGE: IMAGE,
}
SEQUENCES = (ArgumentRole.UNKNOWN, ArgumentRole.TARGET, ArgumentRole.IMAGE)
"""Roles of arguments that may be the input, most likely first."""
OPTIONAL = (ArgumentRole.LENGTHS, ArgumentRole.RATIO, ArgumentRole.MASK)
"""Roles of arguments that calls pass even if they are optional."""


@dataclass(frozen=True)
class Argument:
    """An argument of `forward`: its name, its role, and whether a call has to pass it."""

    name: str
    role: ArgumentRole
    is_required: bool
    is_keyword: bool


def list_arguments(model: nn.Module) -> list[Argument]:
    """Return the arguments of a model's `forward`, including the input.

    The input is the first required argument whose name suggests no other role. If there is none, it
    is the right answer of a decoder, or features; otherwise the first argument.
    """
    function = model.function if isinstance(model, CallableModule) else model.forward
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [each for each in parameters if each.kind not in variadic]
    if not named:
        return [Argument("x", ArgumentRole.INPUT, is_required=True, is_keyword=False)]
    roles = [_read_role(each) for each in named]
    roles[_find_input(named, roles)] = ArgumentRole.INPUT
    return [_make_argument(each, role) for each, role in zip(named, roles, strict=True)]


def _read_role(parameter: inspect.Parameter) -> ArgumentRole:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", parameter.name).lower().strip("_")
    for role, pattern in PATTERNS.items():
        if pattern.fullmatch(name):
            return role
    return ArgumentRole.UNKNOWN


def _find_input(named: list[inspect.Parameter], roles: list[ArgumentRole]) -> int:
    required = [each.default is inspect.Parameter.empty for each in named]
    has_image = any(role is ArgumentRole.IMAGE for role in roles)
    if has_image and any(TOKENS.fullmatch(each.name) for each in named):
        return next(i for i, each in enumerate(named) if TOKENS.fullmatch(each.name))
    for wanted in SEQUENCES:
        for index, role in enumerate(roles):
            if role is wanted and required[index]:
                return index
    return 0


def _make_argument(parameter: inspect.Parameter, role: ArgumentRole) -> Argument:
    is_required = role is ArgumentRole.INPUT or parameter.default is inspect.Parameter.empty
    is_keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
    return Argument(parameter.name, role, is_required, is_keyword)


def list_left_out(expression: str, arguments: list[Argument]) -> list[str]:
    """Return the names of the arguments other than the input that a call of the model omits.

    If the expression does not call `model`, these are all of them.
    """
    tree = ast.parse(expression.strip() or "model()", mode="eval")
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
    own = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id == "model"]
    given = max((len(each.args) for each in own), default=0)
    named = {keyword.arg for each in own for keyword in each.keywords}
    return [
        each.name
        for index, each in enumerate(arguments)
        if each.role is not ArgumentRole.INPUT
        and each.name not in named
        and (each.is_keyword or index >= given)
    ]


def list_calls_with_answers(
    model: nn.Module, expression: str, arguments: list[Argument]
) -> list[str]:
    """Return calls that also pass the right answers, if the expression omits them.

    Such a call returns the loss, instead of predictions or beside them.
    """
    left_out = list_left_out(expression, arguments)
    tree = ast.parse(expression, mode="eval")
    own = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Name)
        and each.func.id == "model"
    ]
    found = []
    for each in arguments if own else []:
        if each.role is ArgumentRole.TARGET and each.name in left_out:
            for value in [*ANSWERS, *list_given(model, each.name, each.role, has_cell=False)]:
                given = ast.keyword(each.name, ast.parse(value, mode="eval").body)
                own[0].keywords.append(given)
                found.append(ast.unparse(tree))
                own[0].keywords.pop()
    return found


def list_calls(model: nn.Module, arguments: list[Argument]) -> list[str]:
    """Return expressions that call a model, most likely first.

    They pass lengths, masks and ratios if these are accepted, and other arguments only if
    required.
    """
    required = [each for each in arguments if each.is_required]
    optional = [each for each in arguments if not each.is_required and each.role in OPTIONAL]
    without_masks = [each for each in optional if each.role is not ArgumentRole.MASK]
    ratios = [each for each in optional if each.role is ArgumentRole.RATIO]
    calls: list[str] = []
    for named in (optional, without_masks, ratios, []):
        calls += _write_calls(model, required, named)
    if len(required) == 1:
        calls += ["model((x, lengths))", "model((x, state))"]
    roles = [each.role for each in required]
    if len(roles) == 2 and roles[0] is ArgumentRole.INPUT and roles[1] in SEQUENCES:
        calls.append("model(x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :])")
    return list(dict.fromkeys(calls))


def _write_calls(
    model: nn.Module, required: list[Argument], named: list[Argument]
) -> Iterator[str]:
    has_cell = any(each.role is ArgumentRole.CELL for each in required)
    every = [*required, *named]
    values = [list_given(model, each.name, each.role, has_cell=has_cell) for each in every]
    for chosen in islice(product(*values), MOST_CALLS):
        given = [
            f"{each.name}={value}" if each.is_keyword or not each.is_required else value
            for each, value in zip(every, chosen, strict=True)
        ]
        yield f"model({', '.join(given)})"


def list_given(model: nn.Module, name: str, role: ArgumentRole, *, has_cell: bool) -> list[str]:
    """Return possible expressions for an argument of a role."""
    if role is ArgumentRole.LENGTHS:
        return ["lengths", "lengths[:, None]"] if name.endswith("s") else ["lengths", "steps"]
    if role is ArgumentRole.STATE and not has_cell:
        # Zeros come last: if a model starts from zeros itself, None means the same. A decoder of
        # single steps may take the state of a single layer as a matrix.
        own = ["state", "None"] if find_initial_state(model) else ["None", "state"]
        return [*own, "state[0]"]
    if role is ArgumentRole.MASK:
        masks = [INSIDE, AFTER] if "pad" not in name else [AFTER, INSIDE]
        return [
            form.format(mask)
            for mask in masks
            for form in ("{}", "{}.to(next(model.parameters()).dtype)", "{}.T")
        ]
    plain = {
        ArgumentRole.INPUT: ["x"],
        ArgumentRole.STATE: ["state[0]", "None", "state"],
        ArgumentRole.CELL: ["state[1]", "None", "torch.zeros_like(state)"],
        ArgumentRole.BATCH: ["batch"],
        ArgumentRole.STEPS: ["steps"],
        ArgumentRole.RATIO: ["0"],
        ArgumentRole.SCALE: ["1.0"],
        ArgumentRole.SWITCH: ["False"],
        ArgumentRole.DEVICE: ["x.device"],
        ArgumentRole.COUNT: ["0"],
    }
    return plain.get(role) or _list_tensors(model, role)


INSIDE = "(torch.arange(steps, device=lengths.device) < lengths[:, None]).to(x.device)"
AFTER = INSIDE.replace("<", ">=")
"""Masks that are true inside the sequences, and in the padding after them."""


def invert_masks(expression: str) -> str:
    """Return a call with all masks inverted."""
    parts = expression.split(INSIDE)
    return AFTER.join(part.replace(AFTER, INSIDE) for part in parts)


IDS = "torch.ones({}, dtype=torch.long, device=x.device)"
ANSWERS = (
    IDS.format("(batch, steps)"),
    IDS.format("(steps, batch)"),
    IDS.format("batch"),
    f"{IDS.format('batch')}.float()",
)
"""Right answers for each step or for each sample, as classes and as numbers."""
PACKED = (
    "torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)"
)
"""The input as a packed sequence, for models that accept nothing else."""
NUMBERS = "next(model.parameters()).new_ones({count}).cumsum(0).div({count})"
"""Different numbers for the entries of a sample, the same for all samples."""
DECODED = 4
"""The number of steps requested from a decoder."""


def _list_tensors(model: nn.Module, role: ArgumentRole) -> list[str]:
    """Return tensors to pass besides the input: further sequences, memory, features."""
    alike = "torch.ones_like(x)"
    answers = [
        IDS.format(f"(batch, {DECODED})"),
        IDS.format(f"({DECODED}, batch)"),
        f"x.new_ones(batch, {DECODED}, x.shape[-1])",
        f"x.new_ones({DECODED}, batch, x.shape[-1])",
    ]
    widths = _list_widths(model)
    flat = [_write_numbers(f"(batch, {width})", (width,)) for width in widths]
    memory = [
        expression
        for steps, width in (
            *((DECODED, width) for width in widths),
            *((steps, width) for steps in _list_memory_steps(model) for width in widths[:1]),
        )
        for expression in _write_memory(steps, width)
    ]
    images = [
        _write_numbers(f"(batch, {module.in_channels}, 32, 32)", (module.in_channels, 32, 32))
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ][:1]
    if role is ArgumentRole.MEMORY:
        return [*memory, *flat]
    if role is ArgumentRole.IMAGE:
        return [*images, *flat, *memory, alike]
    if not any(isinstance(module, nn.Embedding) for module in model.modules()):
        answers = [*answers[2:], *answers[:2]]
    if role is ArgumentRole.TARGET:
        return [*answers, alike, IDS.format("batch"), *flat]
    last = "torch.ones_like(x[..., 0], dtype=torch.long)"
    letters = IDS.format(f"(batch, steps, {DECODED})")
    return [alike, last, IDS.format("batch"), letters, *flat, *images, *answers, *memory]


def _write_numbers(shape: str, sizes: tuple[int, ...], view: str = "") -> str:
    """Return an expression of numbers with these sizes, the same for each sample."""
    flat = NUMBERS.format(count=prod(sizes))
    if len(sizes) > 1:
        flat += f".view({view or ', '.join(map(str, sizes))})"
    return f"{flat}.expand{shape}"


def _write_memory(steps: int, width: int) -> list[str]:
    """Return outputs of an encoder: batch first, steps first, and for a single sequence."""
    sizes = (steps, width)
    return [
        _write_numbers(f"(batch, {steps}, {width})", sizes),
        _write_numbers(f"({steps}, batch, {width})", sizes, f"{steps}, 1, {width}"),
        _write_numbers(f"({steps}, {width})", sizes),
    ]


def _list_memory_steps(model: nn.Module) -> list[int]:
    """Return the numbers of encoder steps that an attention layer may expect."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return list(dict.fromkeys(module.out_features for module in linear))[:MOST_WIDTHS]


def _list_widths(model: nn.Module) -> list[int]:
    """Return the input and output widths of a model's modules, recurrent modules first."""
    layers = find_layers(model)
    found: list[int] = [layer.width * layer.directions for layer in layers]
    # A bidirectional encoder has outputs twice as wide as the decoder's state.
    found += [2 * layer.width for layer in layers]
    for module in model.modules():
        if is_recurrent(module):
            found += [int(getattr(module, name, 0)) for name in ("hidden_size", "input_size")]
        if isinstance(module, nn.Linear):
            found.append(module.in_features)
        if isinstance(module, nn.Embedding):
            found.append(module.embedding_dim)
    return [width for width in dict.fromkeys(found) if width][:MOST_WIDTHS]


MOST_WIDTHS = 6


def write_state(model: nn.Module) -> str:
    """Return the expression of an initial state of a model.

    It calls the model's own method, or else makes zeros in the shape that the first recurrent layer
    or cell accepts.
    """
    method = find_initial_state(model)
    cell = _find_method_call(model, INITIAL_CELL)
    if method:
        return f"({method}, {cell})" if cell else method
    for layer in find_layers(model):
        rows = layer.num_layers * layer.directions
        zeros = f"torch.zeros({rows}, batch, {layer.width})"
        cell = f"torch.zeros({rows}, batch, {layer.cell_width})"
        return f"({zeros}, {cell})" if layer.has_cell_state else zeros
    for module in model.modules():
        if is_recurrent(module):
            zeros = f"torch.zeros(batch, {getattr(module, 'hidden_size', 1)})"
            return f"({zeros}, {zeros})" if _is_cell_with_two_states(module) else zeros
    return "None"


def _is_cell_with_two_states(module: nn.Module) -> bool:
    kind = find_documented_kind(type(module))
    return kind is not None and kind.is_cell and kind.has_several_states


def find_initial_state(model: nn.Module) -> str:
    """Return the call of the model's own method for an initial state, or an empty string."""
    return _find_method_call(model, INITIAL_STATE)


def _find_method_call(model: nn.Module, names: re.Pattern[str]) -> str:
    for name in dir(type(model)):
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        if names.fullmatch(snake) and callable(getattr(type(model), name)):
            return _write_method_call(model, name)
    return ""


def find_reset(model: nn.Module) -> str:
    """Return the call of a method that resets the state, or an empty string."""
    for name in dir(type(model)):
        if RESET.fullmatch(name.lower()) and callable(getattr(type(model), name)):
            return _write_method_call(model, name)
    return ""


def list_kept_states(model: nn.Module) -> list[str]:
    """Return the names of a model's attributes that hold its state, such as `hidden`."""
    return [name for name in vars(model) if STATE.fullmatch(name.lower())]


def _write_method_call(model: nn.Module, name: str) -> str:
    given: list[str] = []
    for each in inspect.signature(getattr(model, name)).parameters.values():
        value = _choose_method_argument(each)
        if value:
            given.append(value)
        elif each.default is inspect.Parameter.empty and each.kind is each.POSITIONAL_OR_KEYWORD:
            return ""
    return f"model.{name}({', '.join(given)})"


def _choose_method_argument(parameter: Any) -> str:
    name = parameter.name.lower()
    if BATCH.fullmatch(name):
        return "batch"
    if parameter.default is not inspect.Parameter.empty:
        return ""
    if name in ("n", "size", "sz", "b") or name.endswith("_size"):
        return "batch"
    if name in ("x", "input", "inputs", "input_tensor", "source", "src", "inp", "tensor"):
        return "x"
    return "next(model.parameters()).device" if name == "device" else ""
