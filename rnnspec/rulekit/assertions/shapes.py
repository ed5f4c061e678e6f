"""The shape of a final state."""

from __future__ import annotations

from rnnspec.contract.kinds import Kind
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation


def assert_state_shape(observation: Observation, name: str) -> None:
    """Raise Violation if a final state does not have the documented shape."""
    found = tuple(observation.call.raw_states[name].shape)
    expected = observation.call.state_shapes[name]
    if found != expected:
        place = write_state_place(observation.case.config.kind_data, name)
        raise Violation(
            f"{name} has shape {found}, expected {expected}",
            Snippet(f"assert tuple(layer(*given){place}.shape) == {expected}"),
        )


def write_state_place(kind: Kind, name: str) -> str:
    """Return the Python indices of a final state in the return value of a call."""
    if kind.is_cell:
        return f"[{kind.final.index(name)}]" if kind.has_several_states else ""
    return f"[1][{kind.final.index(name)}]" if kind.has_several_states else "[1]"
