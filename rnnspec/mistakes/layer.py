"""A layer that conforms except for known mistakes, which explain every rule that it breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspec.cases.axes import DType, InitialState, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.states import name_initial, split_states
from rnnspec.contract.kinds import KINDS
from rnnspec.contract.shapes import state_size
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.plain.catalogue import PLAIN_KINDS
from rnnspec.plain.layer import Plain
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference

ReturnedPair = tuple[Tensor | PackedSequence, Tensor]
DTYPES = {each.torch_dtype: each for each in DType}


class UnknownEffect(Exception):
    """The behaviour of a layer with the mistake is unknown for a call."""


@dataclass(frozen=True)
class Maker:
    """A factory of layers that make mistakes.

    mistake    the mistake of the layers
    case       the checked case, for everything that a call itself does not show
    gradients  whether only the backward pass is wrong
    """

    mistake: Hypothesis
    case: Case
    gradients: bool = False

    def __post_init__(self) -> None:
        MAKERS[id(self)] = self

    def __reduce__(self) -> tuple[Callable[[int], Maker], tuple[int]]:
        """Return how a copy finds this maker: a mistake has functions that cannot be pickled."""
        return find_maker, (id(self),)

    def __call__(self, *arguments: Any, **named: Any) -> Mistaken:
        """Return a layer of the kind of the case. Pass the arguments of that kind."""
        layer = MISTAKEN[self.case.config.kind](*arguments, **named)
        layer.maker = self
        return layer


MAKERS: WeakValueDictionary[int, Maker] = WeakValueDictionary()
"""The existing makers, by their identity in this process."""


def find_maker(number: int) -> Maker:
    """Return the maker with an identity."""
    return MAKERS[number]


class Mistaken(Plain):
    """A layer that conforms except for a mistake; its states are concatenated.

    Raises the errors of the plain layer, and UnknownEffect.
    """

    maker: Maker

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> ReturnedPair:
        """Return `output` and the final states."""
        generator = torch.get_rng_state()
        right = super().forward(input, hx)
        given = self.describe_call(input, hx)
        if given is None or not self.maker.mistake.concerns(given.case):
            return right
        if self.maker.mistake.unclear(given.case):
            raise UnknownEffect(self.maker.mistake.text)
        torch.set_rng_state(generator)  # draw the masks only once
        if self.maker.gradients:
            return _return_like(right, *_compute_with_backward(self.maker.mistake, given), given)
        reference = self.maker.mistake.build(given)
        try:
            output, states = _draw_masks(reference).compute()
        except (RuntimeError, IndexError):
            # Only a mistake that makes the loop refuse an empty batch explains a refusal of it.
            if given.input.numel():
                raise
            return right
        return _return_like(right, output, _join_named(given, states), given)

    def describe_call(self, input: Tensor | PackedSequence, hx: Tensor | None) -> Given | None:
        """Return the arguments of a call, or None if a reference cannot compute with them.

        Tensors on the device "meta", which have a shape and no numbers, are replaced by zeros.
        """
        data, lengths = (
            pad_packed_sequence(input)
            if isinstance(input, PackedSequence)
            else (self.to_time_major(input), None)
        )
        if data.dtype not in DTYPES:
            return None
        weights = {
            self.parameter_name(*place): _read_numbers(self.parameter(*place))
            for place in self.parameter_order()
        }
        case = self._describe_case(input, data, lengths, hx)
        return Given(case, weights, _read_numbers(data), _name_states(case, hx))

    def _describe_case(
        self,
        input: Tensor | PackedSequence,
        data: Tensor,
        lengths: Tensor | None,
        hx: Tensor | None,
    ) -> Case:
        known = self.maker.case.config
        config = replace(known, **{name: getattr(self, name) for name in known.arguments})
        return replace(
            self.maker.case,
            config=config,
            steps=len(data),
            batch=data.shape[1],
            lengths=() if lengths is None else tuple(lengths.tolist()),
            layout=_describe_layout(input),
            initial_state=InitialState.ABSENT if hx is None else InitialState.GIVEN,
            mode=Mode.TRAIN if self.training else Mode.EVAL,
            dtype=DTYPES[data.dtype],
        )


def _mix(kind: str) -> type[Mistaken]:
    """Return the layer or cell of a kind that makes mistakes, as a class that can be pickled."""
    plain, name = PLAIN_KINDS[kind], f"{Mistaken.__name__}{KINDS[kind].title}"
    bases = (*plain.outside, Mistaken, plain.joined)
    mixed: Any = type(name, bases, {"__module__": __name__, "__doc__": Mistaken.__doc__})
    globals()[name] = mixed
    found: type[Mistaken] = mixed
    return found


MISTAKEN: Mapping[str, type[Mistaken]] = {kind: _mix(kind) for kind in PLAIN_KINDS}
"""The layer or cell that makes mistakes, by kind."""


def _read_numbers(tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        return torch.zeros_like(tensor, dtype=torch.float64, device="cpu")
    return tensor.double()


def _name_states(case: Case, hx: Tensor | None) -> dict[str, Tensor]:
    """Return the initial states of a call by name, as (D * num_layers, N, units)."""
    if hx is None:
        return {}
    joined = hx if hx.dim() == 3 else hx.unsqueeze(1)
    named = name_initial(case.config, joined)
    return {name: _read_numbers(state) for name, state in named.items()}


def _describe_layout(input: Tensor | PackedSequence) -> Layout:
    if isinstance(input, PackedSequence):
        return Layout.PACKED if input.sorted_indices is None else Layout.PACKED_UNSORTED
    return Layout.BATCHED if input.dim() == 3 else Layout.UNBATCHED


def _compute_with_backward(mistake: Hypothesis, given: Given) -> tuple[Tensor, Tensor]:
    """Return right results whose backward pass makes a mistake."""
    output, h_n = WrongBackward.apply(mistake, given, *given.leaves.values())
    right = Reference(given)
    final = split_states(given.case.config, h_n)
    return right.return_output(output), _join_named(given, right.return_states(final))


class WrongBackward(torch.autograd.Function):
    """The results of the reference, and the gradients of a mistake."""

    @staticmethod
    def forward(ctx: Any, mistake: Hypothesis, given: Given, *leaves: Tensor) -> Any:
        """Return the output (T, N, D * H) and h_n."""
        ctx.mistake, ctx.given, ctx.generator = mistake, given, torch.get_rng_state()
        output, states = _draw_masks(Reference(given)).run()
        return output, torch.cat([*states.values()], dim=-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        """Return the gradients of the leaves, computed with the masks of the forward pass."""
        given = _copy_leaves(ctx.given)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            given.known["gradients"] = _differentiate(Reference(given), ctx.generator, cotangents)
            found = _differentiate(ctx.mistake.build(given), ctx.generator, cotangents)
        return None, None, *(found[name] for name in given.leaves)


def _copy_leaves(given: Given) -> Given:
    """Return the given numbers as leaves of their own."""

    def copy(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_()

    weights = {name: copy(weight) for name, weight in given.weights.items()}
    states = {name: copy(state) for name, state in given.states.items()}
    return Given(given.case, weights, copy(given.input), states)


def _differentiate(
    reference: Reference, generator: Tensor, cotangents: tuple[Tensor, ...]
) -> dict[str, Tensor]:
    torch.set_rng_state(generator)
    d_output, d_h_n = cotangents
    d_final = split_states(reference.given.case.config, d_h_n)
    return _draw_masks(reference).differentiate(d_output, d_final)


def _join_named(given: Given, named: Mapping[str, Tensor]) -> Tensor:
    """Return final states by name, concatenated.

    Raises UnknownEffect if their shapes do not fit each other.
    """
    config = given.case.config
    sizes = [state_size(config, letter) for letter in config.kind_data.states]
    leading = {each.shape[:-1] for each in named.values()}
    if len(leading) > 1 or [each.shape[-1] for each in named.values()] != sizes:
        raise UnknownEffect("a state has another shape")
    return torch.cat([*named.values()], dim=-1)


def _draw_masks(reference: Reference) -> Reference:
    """Return a reference with random dropout between layers where the contract requires it.

    Raises UnknownEffect if the mistake changes the values that dropout leaves.
    """
    case = reference.given.case
    if not case.has_active_dropout or case.config.dropout == 1:
        return reference
    if "dropped" in reference.changes:
        raise UnknownEffect("dropout is a part of the mistake")
    return replace(reference, drop=_drop_at_random)


def _drop_at_random(data: Tensor, probability: float) -> Tensor:
    kept = 1.0 - probability
    return data * torch.empty_like(data).bernoulli_(kept) / kept


def _return_like(right: ReturnedPair, output: Tensor, states: Tensor, given: Given) -> ReturnedPair:
    """Return results in the form, dtype and device of the right results.

    The states of a cell are the states of a layer of one step, which has an axis for its layers.
    """
    form, state = right
    h_n = states[None] if given.case.config.kind_data.is_cell else states
    if isinstance(form, PackedSequence):
        order = form.batch_sizes, form.sorted_indices, form.unsorted_indices
        return PackedSequence(output.to(form.data), *order), h_n.to(state)
    return output.to(form), h_n.to(state)
