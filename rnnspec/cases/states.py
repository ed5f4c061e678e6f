"""States side by side: h alone, or the h and the c of an LSTM as one array.

Properties of every state, such as the order of rows and of samples, are expressed once, for the
whole array; properties of a single state are expressed for its part.
"""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.contract.config import Config
from rnnspec.contract.shapes import state_size

States = TypeVar("States", bound=Any)


def get_states_size(config: Config) -> int:
    """Return the total number of units of all states of one layer and direction."""
    return sum(state_size(config, letter) for letter in config.kind_data.states)


def split_states(config: Config, states: States) -> dict[str, States]:
    """Return each state by its letter, as views of your array or tensor (..., S)."""
    if not config.kind_data.has_several_states:
        return {config.kind_data.states[0]: states}
    parts: dict[str, States] = {}
    start = 0
    for letter in config.kind_data.states:
        stop = start + state_size(config, letter)
        parts[letter] = states[..., start:stop]
        start = stop
    return parts


def name_initial(config: Config, states: States) -> dict[str, States]:
    """Return the initial states h_0 and c_0 by name, as views of an array or a tensor (..., S)."""
    return {f"{letter}_0": part for letter, part in split_states(config, states).items()}


def name_final(config: Config, states: States) -> dict[str, States]:
    """Return the final states h_n and c_n by name, as views of an array or a tensor (..., S)."""
    kind = config.kind_data
    return {kind.name_final(letter): part for letter, part in split_states(config, states).items()}
