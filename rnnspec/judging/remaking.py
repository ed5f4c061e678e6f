"""What a layer has to keep when it is copied, pickled or converted besides its numbers, and what it must not be loaded with."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import torch

from rnnspec.judging.builds import refused
from rnnspec.judging.module_proofs import FROZEN
from rnnspec.judging.violation import violated
from rnnspec.observe.observation import Observation
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.subject import observing

State = dict[str, torch.Tensor]


def stays_as_it_was(seen: Observation, remade: str) -> None:
    """Raise Violation where a frozen layer that is made anew, as the line of Python says, is in another mode or no longer frozen."""
    layer = seen.other(seen.case.altered(history="fresh")).module.requires_grad_(False)
    train = seen.case.mode == "train"
    with observing(remade):
        other = eval(remade, {"copy": copy, "pickle": pickle, "torch": torch, "layer": layer})
    proof = FROZEN.format(train=train, remade=remade)
    if other.training != train:
        raise violated(f"a layer in {seen.case.mode} mode has training={other.training} after {remade}", proof)
    unfrozen = [name for name, parameter in other.named_parameters() if parameter.requires_grad]
    if unfrozen:
        raise violated(f"{unfrozen[0]}, which was frozen, requires gradients after {remade}", proof)


def _without(state: State, name: str) -> None:
    del state[name]


def _flat(state: State, name: str) -> None:
    state[name] = state[name].flatten()[:1]


def _longer(state: State, name: str) -> None:
    state[name] = torch.cat([state[name], state[name]])


def _added(state: State, name: str) -> None:
    state[f"{name}_more"] = state[name]


SPOILT: dict[str, tuple[Callable[[State, str], None], str]] = {
    "without {name}": (_without, "del state[{name!r}]"),
    "with one number for {name}": (_flat, "state[{name!r}] = state[{name!r}].flatten()[:1]"),
    "with {name} twice as long": (_longer, "state[{name!r}] = torch.cat([state[{name!r}]] * 2)"),
    "with {name}_more besides": (_added, "state[{name!r} + '_more'] = state[{name!r}]"),
}
"""State dicts that must not be loaded: what is wrong, how it is done, and the same as Python."""


def must_not_load(seen: Observation, name: str) -> None:
    """Raise Violation where a layer loads a state_dict in which one entry is wrong."""
    layer = seen.other(seen.case.altered(history="fresh")).module
    with observing("state_dict()"):
        whole = {each: value.clone() for each, value in layer.state_dict().items()}
    for words, (spoil, line) in SPOILT.items():
        state = dict(whole)
        spoil(state, name)
        if _differs(state, whole) and _is_loaded(layer, state):
            proof = "state = dict(layer.state_dict())\n" + line.format(name=name) + "\n" + refused("layer.load_state_dict(state)")
            raise violated(f"a state_dict {words.format(name=name)} is loaded without a word", proof)


def _differs(state: State, whole: State) -> bool:
    return {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in whole.items()}


def _is_loaded(layer: torch.nn.Module, state: State) -> bool:
    try:
        with observing("load_state_dict()"):
            layer.load_state_dict(state)
    except Raised:
        return False
    return True
