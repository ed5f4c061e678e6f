"""Check the contract of a model as a pytest test, with a test id for each rule and a common run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnspec.api.model import ModelTarget, prepare_model_suite
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.models.catalogue import select_model_rules
from rnnspec.options import ModelOptions, show_options
from rnnspec.testing.checking import Isolation
from rnnspec.testing.layer import Test, parametrize_rules, refuse_test
from rnnspec.testing.run import Run


@show_options(ModelOptions, profile="quick")
def model_conformance(
    target: ModelTarget,
    *,
    isolate: bool | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    memory: int | None = None,
    **options: Any,
) -> Callable[[Test], Test]:
    """Parametrize a pytest test over the rules of a model; its argument `rule` has `check()`.

    Your model is built and called as in `rnnspec.check_model`. The options are the fields of
    `rnnspec.ModelOptions`; the default profile is quick. Use `isolate`, `timeout` and `memory` as
    in `rnnspec.conformance`. Your test fails if it never uses the result of its rule.
    """
    refuse_test(target, options, "model_conformance(Model)")
    chosen = ModelOptions.from_keywords("model_conformance", options, profile="quick")
    run = Run(target, chosen, prepare_model_suite, Isolation(isolate, timeout, memory))
    return parametrize_rules(run, select_model_rules(chosen.rules))
