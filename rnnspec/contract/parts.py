"""The parts of the contract. A report has a verdict for each."""

from __future__ import annotations

from rnnspec.text import TextEnum


class Part(TextEnum):
    """The parts of the contract. A report has a verdict for each."""

    VALUES = "values"
    GRADIENTS = "gradients"
    MODULE = "module"
    INTERFACE = "interface"

    @property
    def meaning(self) -> str:
        """The subject of the rules of the part."""
        return MEANINGS[self]


MEANINGS = {
    Part.VALUES: "the results of a call: shapes, layouts, states, dropout, numbers",
    Part.GRADIENTS: "first and second derivatives",
    Part.MODULE: "the layer as an nn.Module: parameters, state_dict, copies, side effects",
    Part.INTERFACE: "the constructor, and the errors for wrong arguments",
}
