"""Explain why a model cannot be called, and which option helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from rnnspec.models import signature
from rnnspec.models.infer import Interface, find_embedding

FEATURES = "The model has an nn.Embedding; if x is token ids, leave out --features."
TOKENS = "x is token ids, because the model has an nn.Embedding; for features, add --features N."
UNKNOWN_FORM = "what it returns is neither one prediction for each sample nor one for each step"
COMPLETE = (
    'Complete the expression, as in "model(x, x)[0][:, -1]", so that it returns (batch, outputs), '
    "or (batch, steps, outputs) for predictions at every step. If it is meant to return that and "
    "the model is wrong, add --readout last or --readout every."
)
DESCRIBE_CALL = (
    'Describe the call, as in --call "model(x, lengths)[0]", an expression over model, x, '
    "lengths, state, batch and steps. If it takes sequences of N steps only, add --steps N; if "
    "batches of N samples only, --batch N."
)


class CannotCall(ValueError):
    """Raised if no way to call the model was found, with the reason and advice.

    `causes` are the exceptions of the calls.
    """

    def __init__(self, reason: str, advice: str, causes: tuple[Exception, ...] = ()) -> None:
        super().__init__(reason, advice)
        self.reason = reason
        self.advice = advice
        self.causes = causes

    def __str__(self) -> str:
        return f"{self.reason} {self.advice}".strip()


class EndsProcess(CannotCall):
    """Raised if calls of the model end the process or hang, so that no further calls are tried."""


@dataclass(frozen=True)
class Failed:
    """The end of a sentence about a failed call: its exception, or its unusable result."""

    text: str
    has_returned: bool


def explain_refusal(
    model: nn.Module, interface: Interface, failed: Mapping[str, Failed], expression: str | None
) -> tuple[str, str]:
    """Return why no way to call a model was found, and the options that help.

    `failed` contains the outcome of each call that was tried with the interface.
    """
    arguments = signature.list_arguments(model)
    unknown = [each.name for each in arguments if _is_unknown(each)]
    if unknown and not expression:
        names = " and ".join(map(repr, unknown))
        reason = f"forward also takes {names}, and rnnspec does not know what to pass."
        return reason, 'Describe the call: --call "model(x, ...)".'
    returned = [call for call, each in failed.items() if each.has_returned]
    lead = UNKNOWN_FORM if returned else "it cannot be called"
    call = next(iter([*returned, *failed]), "")
    found = f"{call} {failed[call].text}" if failed else ""
    others = signature.list_left_out(call, arguments)
    also = f" forward also takes {', '.join(map(repr, others))}." if others else ""
    reason = f"{lead}: {found.removesuffix('.')}.{also}"
    hint = "" if returned else _describe_input(model, interface)
    how = DESCRIBE_CALL if not expression else COMPLETE if returned else ""
    return reason, f"{hint} {how}".strip()


def _describe_input(model: nn.Module, interface: Interface) -> str:
    """Return how to choose the other kind of input, if the model may accept it."""
    if interface.has_inferred_vocabulary:
        return TOKENS
    return "" if interface.takes_tokens or find_embedding(model) is None else FEATURES


def _is_unknown(argument: signature.Argument) -> bool:
    return argument.is_required and argument.role is signature.ArgumentRole.UNKNOWN
