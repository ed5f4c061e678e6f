"""The contract of a model as a pytest test: one test id per rule, the cases shared between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnspec.api.model import ModelTarget, run_model_check
from rnnspec.models.catalogue import select_model_rules
from rnnspec.options import ModelOptions, show_options
from rnnspec.testing.layer import Run, Test, parametrize_rules


@show_options(ModelOptions, profile="quick")
def model_conformance(target: ModelTarget, **options: Any) -> Callable[[Test], Test]:
    """Parametrize a pytest test over the rules of a model; its argument `rule` has `check()`.

    The options are those of `rnnspec.ModelOptions`, with the quick profile by default.
    """
    chosen = ModelOptions.from_keywords("model_conformance", options, profile="quick")
    run = Run(target, chosen, run_model_check)
    return parametrize_rules(run, select_model_rules(chosen.rules))
