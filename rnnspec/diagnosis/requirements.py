"""Likely causes of faults that show only in calls made by a rule itself.

These calls contain NaN, infinity or no sequence at all, so that ordinary results do not help.
"""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from rnnspec.contract.shapes import output_shape, state_shape
from rnnspec.diagnosis.likely_cause import choose_one
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.outcome import check_case
from rnnspec.mistakes.catalogue import adapt_to_kind
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.outcome import Agreement
from rnnspec.mistakes.special_values import HYPOTHESES
from rnnspec.observe.observation import Observation, collect_observations
from rnnspec.oracle import SMALL_ERROR, Array
from rnnspec.rulekit.rule import Rule
from rnnspec.subjects.failures import Ended, Failure, Raised
from rnnspec.subjects.settings import restore_settings

NOT_OF_THE_USER = Path(__file__).parents[1], Path(torch.__file__).parent
"""Folders with code that is not the user's. An exception raised there does not locate the
mistake."""
EMPTY = "a batch of zero sequences"
EMPTY_RULES = ("shapes.empty-batch",)


class EvidenceOfCall(Evidence):
    """The evidence of a call with NaN or infinity, where few results have a bound.

    Mistakes that turn NaN into a number change it to another number, not by rounding.
    """

    def scale_bounds(self, bounds: Mapping[str, Array]) -> dict[str, float]:
        """Return the tolerances, all at most as large as a lack of precision."""
        return {name: min(each, SMALL_ERROR) for name, each in super().scale_bounds(bounds).items()}


def find_cause_of_calls(
    rule: Rule[Any, Observation],
    failing: Iterable[Observation],
    known: Collection[LikelyCause] = (),
) -> LikelyCause | None:
    """Return the mistake that explains the calls that a rule makes in failing cases, or None.

    If several mistakes explain them, return the mistake that is already `known` as the cause of
    another fault.
    """
    calls = [each for observation in failing for each in _list_calls(rule, observation)]
    special = [each for each in calls if _has_special_values(each)]
    empty = [each for each in calls if each.case.batch == 0]
    return _explain_special_values(special, known) or _explain_empty_batches(empty)


def _list_calls(rule: Rule[Any, Observation], observation: Observation) -> list[Observation]:
    with restore_settings(), collect_observations() as made:
        check_case(rule, observation)
    return [each for each in made if each is not observation]


def _has_special_values(call: Observation) -> bool:
    values = call.values
    return not (np.isfinite(values.input).all() and np.isfinite(values.initial).all())


def _explain_special_values(
    calls: Sequence[Observation], known: Collection[LikelyCause]
) -> LikelyCause | None:
    """Return the only mistake with NaN and infinity that predicts all results, or None."""
    # In other dtypes, the largest finite number overflows in other places, so calls with infinity
    # count in the most precise dtype only.
    precise = min((each.case.dtype.roundoff for each in calls), default=0.0)
    cases = [
        EvidenceOfCall(each)
        for each in calls
        if each.case.dtype.roundoff == precise or not np.isinf(each.values.input).any()
    ]
    cases = [case for case in cases if case.observed is not None and not case.is_right]
    if not cases:
        return None
    kind = cases[0].case.config.kind_data
    hypotheses = adapt_to_kind((each for each in HYPOTHESES if each.of(kind)), kind)
    found = {each: [case.check(each) for case in cases] for each in hypotheses}
    fitting = [
        each
        for each, said in found.items()
        if Agreement.EVIDENCE in said and Agreement.CONTRADICTION not in said
    ]
    keys = {each.key for each in known}
    # Several mistakes explain infinity in the only sample, so prefer the cause of another fault.
    chosen = choose_one(fitting) or choose_one(each for each in fitting if each.key in keys)
    if chosen is None:
        return None
    explained = found[chosen].count(Agreement.EVIDENCE)
    return LikelyCause(
        chosen.key, chosen.text, chosen.remedy, chosen.rules, explained, len(cases), chosen
    )


def _explain_empty_batches(calls: Sequence[Observation]) -> LikelyCause | None:
    """Return the behaviour of most calls without a sequence as a likely cause, or None."""
    seen = Counter(each for each in map(_describe_empty, calls) if each)
    if not seen:
        return None
    ((key, text), count), *_ = seen.most_common()
    return LikelyCause(
        key,
        text,
        "return results whose batch dimension is 0 before anything that needs a sequence, such as "
        "a largest length, a division by N, or a kernel with a grid of N blocks",
        EMPTY_RULES,
        count,
        seen.total(),
    )


Described = tuple[str, str]
"""The key of a likely cause, and its text."""


def _describe_empty(call: Observation) -> Described | None:
    """Describe how a call without a sequence fails, or return None if it fails in another way."""
    try:
        states = call.call.raw_states
        data = call.call.raw_output
    except Ended:
        return "empty.ended", f"code that needs at least one sequence ends the process for {EMPTY}"
    except Raised as failure:
        return _describe_error(failure)
    except Failure:
        return None
    config, shape = call.case.config, call.case.shape
    expected = {letter: state_shape(config, shape, letter) for letter in config.kind_data.states}
    found = [tuple(each.shape) for each in states.values()]
    if found != list(expected.values()):
        return "empty.states", f"the final states of {EMPTY} have another size, as if N were not 0"
    # If all results are right, only the backward pass can be wrong.
    if config.kind_data.is_cell or tuple(getattr(data, "shape", ())) == output_shape(config, shape):
        return "empty.backward", f"the backward pass is wrong for {EMPTY}"
    return "empty.output", f"the output of {EMPTY} has another size, as if N were not 0"


def _describe_error(failure: Raised) -> Described:
    """Describe the statement of the user's code that fails for a batch of zero, or refuses it."""
    frames = [*_list_own_frames(failure.error.__traceback__)]
    if not frames:
        return "empty.failed", f"the call needs at least one sequence, and fails for {EMPTY}"
    path, line, source = frames[-1]
    place = f"{path.name}, line {line}"
    words = source.split()
    if words and words[0] in ("raise", "assert"):
        return (
            f"empty.refused@{path.name}:{line}",
            f"a check of the layer refuses {EMPTY} ({place})",
        )
    return f"empty.failed@{path.name}:{line}", f"`{source}` needs at least one sequence ({place})"


def _list_own_frames(trace: TracebackType | None) -> Iterator[tuple[Path, int, str]]:
    """Yield the places of an exception in the user's code, from the outermost call inwards."""
    while trace is not None:
        name, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        path, source = Path(name), linecache.getline(name, line).strip()
        if source and not any(path.is_relative_to(each) for each in NOT_OF_THE_USER):
            yield path, line, source
        trace = trace.tb_next
