"""Say why a model cannot be called, and which option helps."""

from __future__ import annotations

from collections.abc import Mapping

from rnnspec.models import signature
from rnnspec.models.infer import Interface

TOKENS = " x is token ids, because the model has an nn.Embedding; for features, add --features N."
UNKNOWN_FORM = "what it returns is neither one prediction for each sample nor one for each step"
COMPLETE = (
    'Complete the expression, as in "model(x, x)[0][:, -1]", so that it returns (batch, outputs), '
    "or (batch, steps, outputs) for predictions at every step. If it is meant to return that and "
    "the model is wrong, add --readout last or --readout every."
)


def explain_refusal(
    errors: Mapping[str, str],
    arguments: list[signature.Argument],
    expression: str | None,
    interface: Interface,
) -> str:
    """Return why no way to call a model was found, and the options that help.

    `errors` says what came of each call that was tried with the interface.
    """
    unknown = [each.name for each in arguments if _is_unknown(each)]
    if unknown and not expression:
        names = " and ".join(map(repr, unknown))
        return (
            f"forward also takes {names}, and rnnspec does not know what to give. "
            f'Say how it is called: --call "model(x, ...)".'
        )
    tried = [f"{call} {error}" for call, error in errors.items()]
    text = next((each for each in tried if " returns " in each), "")
    lead = UNKNOWN_FORM if text else "it cannot be called"
    others = signature.describe_arguments(arguments)
    also = f" forward also takes {others}." if others else ""
    is_inferred = any(note.startswith("vocabulary=") for note in interface.inferred)
    also += TOKENS if is_inferred and not text else ""
    reason = f"{lead}: {text or ''.join(tried[:1])}.{also}"
    if expression:
        return f"{reason} {COMPLETE}" if text else reason
    return (
        f'{reason} Say how it is called, as in --call "model(x, lengths)[0]", an expression over '
        "model, x, lengths, state, batch and steps. If it takes sequences of N steps only, add "
        "--steps N; if batches of N samples only, --batch N."
    )


def _is_unknown(argument: signature.Argument) -> bool:
    return argument.is_required and argument.role is signature.Role.UNKNOWN
