"""The rules about hooks: torch passes, and planted bugs are reported."""

from __future__ import annotations

from typing import Any

from rnnspec.cases.axes import GradMode, InitialState, Layout, Mode, ModuleUses
from rnnspec.engine.outcome import UnsupportedCase
from rnnspec.selftest import Plain
from tests.rules.checking import Fails, Passes, check_layer, make_case

GIVEN = make_case(initial_state=InitialState.GIVEN, num_layers=2, bidirectional=True)
SINGLE = make_case(layout=Layout.UNBATCHED, batch_first=True, initial_state=InitialState.GIVEN)
CELLS = [make_case(kind=kind, steps=1) for kind in ("rnn-cell", "gru-cell", "lstm-cell")]
LSTM = GIVEN.replace(kind="lstm")
PASSES: Passes = {
    "modules.forward-hooks": [
        make_case(),
        GIVEN,
        SINGLE,
        make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
        make_case(prior_use=ModuleUses.FUNCTIONAL, grad_mode=GradMode.INFERENCE),
        make_case(mode=Mode.TRAIN, num_layers=2, dropout=1.0),
        LSTM,
        *CELLS,
    ],
    "gradients.hooks": [make_case(), GIVEN, SINGLE, LSTM, *CELLS],
}
FAILS: Fails = [
    (
        "modules.forward-hooks",
        "CalledPastHooks",
        make_case(),
        "^a forward pre-hook was called 0 times in a call; expected once$",
    ),
    (
        "modules.forward-hooks",
        "HooksSeeCopies",
        make_case(),
        "^a call returned a tuple of its own while a forward hook replaces the result; "
        "expected what the hook returned$",
    ),
    (
        "gradients.hooks",
        "HooksSeeCopies",
        make_case(),
        "^a full backward hook was called 0 times in a backward pass; expected once$",
    ),
    ("gradients.hooks", "CalledPastHooks", CELLS[1], "^a full backward hook was called 0 times"),
]


class WithoutHooks(Plain):
    """A layer that openly takes no hooks, as a scripted one does."""

    def register_forward_pre_hook(self, *given: Any, **named: Any) -> Any:
        """Raise RuntimeError."""
        raise RuntimeError("hooks are not supported")

    def register_full_backward_hook(self, *given: Any, **named: Any) -> Any:
        """Raise RuntimeError."""
        raise RuntimeError("hooks are not supported")


def test_a_layer_that_refuses_hooks_is_not_checked() -> None:
    for rule in PASSES:
        assert isinstance(check_layer(rule, WithoutHooks, make_case()), UnsupportedCase)
