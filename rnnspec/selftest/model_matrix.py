"""The kill matrix of models: which rules detect each planted bug.

It also shows whether a rule accuses a correct model.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rnnspec.api import run_undisturbed
from rnnspec.api.model import prepare_model_suite
from rnnspec.engine.campaign import Watcher
from rnnspec.options import ModelOptions
from rnnspec.selftest import (
    model_correct,
    model_correct_other,
    model_correct_tasks,
    model_correct_whole,
    model_forms,
    model_forms_states,
)
from rnnspec.selftest.bank import find_named_rule, list_classes, read_story
from rnnspec.selftest.matrix import Matrix, MatrixRow, collect_rows, match_names
from rnnspec.selftest.model_bugs import BUGS
from rnnspec.selftest.model_plain import EveryStep, LastStep

CORRECT: tuple[type[nn.Module], ...] = (
    LastStep,
    EveryStep,
    *(
        model
        for module in (
            model_correct,
            model_correct_other,
            model_correct_tasks,
            model_correct_whole,
            model_forms,
            model_forms_states,
        )
        for model in list_classes(module, nn.Module).values()
    ),
)


def bank() -> dict[str, type[nn.Module]]:
    """Return every planted bug and every correct model, by name."""
    return {model.__name__: model for model in (*BUGS, *CORRECT)}


def select_models(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the bank that match any of the glob patterns, or all without patterns.

    Raises SelectionError if a pattern matches nothing.
    """
    return match_names(patterns, tuple(bank()))


def build_model_matrix(
    names: Sequence[str] | None = None,
    *,
    profile: str = "quick",
    seed: int = 0,
    watch: Watcher | None = None,
) -> Matrix:
    """Check models of the bank against all rules and return their kill matrix.

    Pass the `names` of the models that you want to check, or None for the whole bank. `watch(done,
    total)` is called after each model. Raises SelectionError for an unknown profile.
    """
    known = bank()
    chosen = names or tuple(known)
    found = (row_of(known[name], profile, seed) for name in chosen)
    rows, is_stopped = collect_rows(found, len(chosen), watch)
    return Matrix(rows, seed, profile, is_stopped)


def row_of(model: type[nn.Module], profile: str, seed: int) -> MatrixRow:
    """Check a planted bug or correct model and return its row."""
    seen = _count_violations(model, profile, seed)
    if model in CORRECT:
        return MatrixRow(model.__name__, "", "", None, False, "", seen)
    named = find_named_rule(model)
    return MatrixRow(
        model.__name__,
        read_story(model),
        named,
        None,
        False,
        profile if named in seen else "",
        seen,
    )


def _count_violations(model: type[nn.Module], profile: str, seed: int) -> dict[str, int]:
    """Count the cases that violate each rule."""
    options = ModelOptions(**getattr(model, "given", {}), profile=profile, seed=seed)
    suite, _ = prepare_model_suite(model, options)
    progress = run_undisturbed(suite)
    if progress.stopped:  # a bug that was not checked is no survivor
        raise KeyboardInterrupt
    tallies = progress.tallies
    return {rule: tally.violations for rule, tally in tallies.items() if tally.violations}
