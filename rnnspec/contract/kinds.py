"""The kinds of recurrent layers and cells that a contract can describe.

If you add a kind, the oracle needs the equations of its step as well (docs/adding-a-kind.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from itertools import permutations

from rnnspec.errors import suggest_similar


class Nonlinearity(str, Enum):
    """The activation of an nn.RNN, with the values of its `nonlinearity` argument."""

    TANH = "tanh"
    RELU = "relu"


LAYER = re.compile(r"\blayer(?=s?\b)")
FINAL_STATE = re.compile(r"\b([hc])_n\b")


@dataclass(frozen=True)
class Kind:
    """A kind of recurrent layer or cell: its arguments, its gates, and its states.

    name            the value of the option --kind
    title           the name of the class that implements it, as used in the documentation
    gates           the gates, in the order used by weights and biases to stack them along rows
    states          the letters of its states: h, and for an LSTM c
    arguments       the constructor arguments of its signature, in the documented order, without
                    device and dtype
    nonlinearities  the values of the argument `nonlinearity`; empty if it has none
    held            for each gate, the sign at which its bias holds it shut or open, so that the
                    layer computes the same as an nn.RNN with tanh; None for the remaining gate
    checks_packed   whether torch.nn checks the shapes of a call with packed input
    memory_gate     the gate that multiplies the previous state c; empty if there is no c
    activations     how often tanh is applied in succession to the sum of the remaining gate
    step_of         the kind of layer of which a cell computes one step; empty for a layer
    documented      the class whose documentation is the contract, as module:class; empty if there
                    is none

    Source: the signatures and the *Variables* sections of the pages of torch.nn's layers and cells.
    """

    name: str
    title: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    arguments: tuple[str, ...]
    nonlinearities: tuple[str, ...] = ()
    held: tuple[float | None, ...] = (None,)
    checks_packed: bool = True
    memory_gate: str = ""
    activations: int = 1
    step_of: str = ""
    documented: str = ""

    @property
    def has_several_states(self) -> bool:
        """Whether a call takes and returns a tuple of states instead of one tensor."""
        return len(self.states) > 1

    @property
    def is_cell(self) -> bool:
        """Whether it computes one step, and returns only the states after it, without an output."""
        return bool(self.step_of)

    @property
    def layer(self) -> str:
        """The name of the kind of layer with the same equations: for a layer, its own."""
        return self.step_of or self.name

    @property
    def initial(self) -> tuple[str, ...]:
        """The names of its initial states: h_0, and for an LSTM c_0."""
        return tuple(f"{letter}_0" for letter in self.states)

    @property
    def final(self) -> tuple[str, ...]:
        """The names of its final states: h_n, and for an LSTM c_n; h_1 and c_1 of a cell."""
        return tuple(map(self.name_final, self.states))

    @property
    def results(self) -> tuple[str, ...]:
        """The names of the results of a call: output, unless it is a cell, and the final states."""
        return self.final if self.is_cell else ("output", *self.final)

    @property
    def leading(self) -> str:
        """The name of the first result of a call: output, or the hidden state of a cell."""
        return self.results[0]

    @property
    def noun(self) -> str:
        """The noun for the kind: layer or cell."""
        return "cell" if self.is_cell else "layer"

    def reword(self, text: str) -> str:
        """Return a text about layers in the words of this kind; a cell returns h_1."""
        if not self.is_cell:
            return text
        return FINAL_STATE.sub(r"\1_1", LAYER.sub("cell", text))

    def name_final(self, letter: str) -> str:
        """Return the name of the final state with a letter, such as h_n, or h_1 of a cell."""
        return f"{letter}_{1 if self.is_cell else 'n'}"

    @property
    def page(self) -> str:
        """The page of the documentation that describes it, such as nn.RNN or nn.GRUCell."""
        return f"nn.{self.title}"

    @property
    def qualified_name(self) -> str:
        """The class of torch that implements it, as used in a program."""
        return f"torch.{self.page}"

    @property
    def is_gated(self) -> bool:
        """Whether it has gates besides the one that computes the new state."""
        return len(self.gates) > 1

    def list_wrong_orders(self) -> list[tuple[str, ...]]:
        """Return every order of its gates except the documented order."""
        return [order for order in permutations(self.gates) if order != self.gates]

    @property
    def has_projection(self) -> bool:
        """Whether its hidden state can be projected to `proj_size` units."""
        return "proj_size" in self.arguments


_LAYER = ("bias", "batch_first", "dropout", "bidirectional")
_SIZES = ("input_size", "hidden_size", "num_layers")

RNN = Kind(
    "rnn",
    "RNN",
    gates=("hidden",),
    states=("h",),
    arguments=(*_SIZES, "nonlinearity", *_LAYER),
    nonlinearities=tuple(each.value for each in Nonlinearity),
    documented="torch.nn:RNN",
)
GRU = Kind(
    "gru",
    "GRU",
    gates=("reset", "update", "new"),
    states=("h",),
    arguments=(*_SIZES, *_LAYER),
    held=(1.0, -1.0, None),
    documented="torch.nn:GRU",
)
LSTM = Kind(
    "lstm",
    "LSTM",
    gates=("input", "forget", "cell", "output"),
    states=("h", "c"),
    arguments=(*_SIZES, *_LAYER, "proj_size"),
    held=(1.0, -1.0, None, 1.0),
    checks_packed=False,
    memory_gate="forget",
    activations=2,
    documented="torch.nn:LSTM",
)


def _make_cell(layer: Kind) -> Kind:
    """Return the kind of the cells that compute one step of a kind of layer."""
    chosen = tuple(name for name in ("nonlinearity",) if name in layer.arguments)
    return replace(
        layer,
        name=f"{layer.name}-cell",
        title=f"{layer.title}Cell",
        arguments=("input_size", "hidden_size", "bias", *chosen),
        step_of=layer.name,
        documented=f"{layer.documented}Cell" if layer.documented else "",
    )


LAYERS = (RNN, GRU, LSTM)
RNN_CELL, GRU_CELL, LSTM_CELL = CELLS = tuple(map(_make_cell, LAYERS))
LAYER_KINDS: dict[str, Kind] = {kind.name: kind for kind in LAYERS}
KINDS: dict[str, Kind] = {kind.name: kind for kind in (*LAYERS, *CELLS)}
UNGATED = RNN
"""The kind whose layers have a single gate."""
UNGATED_CELL = RNN_CELL
"""The kind whose cells have a single gate."""

DEFAULT_KIND = UNGATED.name
"""The kind that is used if none is named."""


def find_kind(name: str) -> Kind:
    """Return the kind of layer or cell that you name, such as "lstm" or "gru-cell".

    Raises ValueError, with a suggestion, if there is none.
    """
    found = KINDS.get(str(name))
    if found is None:
        raise ValueError(f"{name!r} is no kind of layer.{suggest_similar(str(name), KINDS)}")
    return found
