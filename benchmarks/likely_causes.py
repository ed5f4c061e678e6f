"""Print the likely cause of every planted bug, next to its story.

    python -m benchmarks.likely_causes --seed 0 'Back*' StateIgnored
    python -m benchmarks.likely_causes --planted

Run it from the root of a checkout. It uses the cases of the quick profile. The diagnosis gets the
smallest cases with wrong results or, if there are none, the smallest with a wrong gradient. The
cause is compared with the labels of the bug (benchmarks/causes.py). With `--planted`, each
hypothesis is planted in the reference instead, and a different cause that is reported is printed.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np

from benchmarks.causes import compare, read_labels
from benchmarks.tables import make_parser, show_progress
from rnnspec.api import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.engine.explanations import LikelyCause
from rnnspec.mistakes.evidence import Evidence, GradientEvidence
from rnnspec.observe.observation import Observation
from rnnspec.options import CheckOptions
from rnnspec.selftest import BUGS
from rnnspec.selftest.bank import read_story
from rnnspec.subjects.settings import restore_settings

PASSING = 6


def measure_size(case: Case) -> int:
    """Return a size by which cases are sorted."""
    return case.steps * case.batch * case.config.num_layers * case.config.hidden_size


def split_cases(
    observations: Sequence[Observation], kind: type[Evidence]
) -> tuple[list[Observation], list[Observation]]:
    """Return the observations with a wrong value that can be predicted, and the others."""
    wrong: list[Observation] = []
    right: list[Observation] = []
    for observation in observations:
        evidence = kind(observation)
        if evidence.observed is not None and not observation.case.is_random:
            (right if evidence.is_right else wrong).append(observation)
    return wrong, right


def explain(name: str, seed: int, number: int) -> tuple[LikelyCause | None, int, float]:
    """Return the likely cause of a bug, how many cases were given, and the CPU seconds."""
    suite = prepare_suite(BUGS[name], CheckOptions(profile="quick", seed=seed))
    drawn = sorted((case for _, case in suite.draw_cases(0, suite.size)), key=measure_size)
    observations = [suite.observe(case) for case in drawn]
    with restore_settings(), np.errstate(all="ignore"):
        wrong, right = split_cases(observations, Evidence)
        has_wrong_results = bool(wrong)
        if not wrong:
            wrong, right = split_cases(right, GradientEvidence)
        start = time.process_time()
        cause = find_likely_cause(
            CauseQuery(wrong[:number], right[:PASSING], not has_wrong_results)
        )
    return cause, len(wrong[:number]), time.process_time() - start


def explain_all(names: Sequence[str], seed: int, number: int) -> Iterator[str]:
    """Yield a few lines on each bug, and at last how many have a cause."""
    counts: Counter[str] = Counter()
    labels = read_labels()
    seconds: list[float] = []
    for name in names:
        cause, given, spent = explain(name, seed, number)
        seconds.append(spent)
        found = compare([cause.key] if cause else [], labels[name]).value
        verdict = found if given else "nothing wrong"
        counts[verdict] += 1
        seen = f" ({cause.explained} of {cause.seen} cases)" if cause else ""
        text = f"{verdict}: {cause.text}{seen}" if cause else verdict
        yield f"{name}\n  story  {read_story(name)}\n  cause  {text}"
    shown = ", ".join(f"{verdict}: {count}" for verdict, count in counts.items())
    yield f"{shown}; CPU seconds: median {np.median(seconds):.3f}, most {max(seconds):.3f}"


def list_confused() -> Iterator[str]:
    """Yield the causes that are reported in place of planted hypotheses."""
    from tests.diagnosis.planted_mistakes import find_causes

    for gradients in (False, True):
        found = find_causes(gradients)
        yield f"{len(found)} planted, {sum(key == cause for key, cause in found.items())} named"
        for key, cause in found.items():
            if cause != key:
                yield f"  {key}\n    => {cause or 'silent'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = make_parser(__doc__)
    parser.add_argument("bugs", nargs="*", default=["*"], help="patterns of names of bugs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=24, help="how many failing cases are given")
    parser.add_argument("--planted", action="store_true", help="plant each hypothesis instead")
    options = parser.parse_args(arguments)
    if options.planted:
        for line in list_confused():
            print(line)
        return 0
    names = [name for name in BUGS if any(fnmatchcase(name, each) for each in options.bugs)]
    for number, lines in enumerate(explain_all(names, options.seed, options.cases), 1):
        show_progress(f"{number} of {len(names)}")
        print(lines, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
