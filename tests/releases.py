"""Skipping of tests that the installed release of torch cannot pass."""

from __future__ import annotations

import pytest
import torch

from rnnspec.rulekit.selection import select_in_force
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import find_named_rule
from rnnspec.subjects.release import is_promised

LATER_PROMISES = {
    "BidirectionalLostBesideRelu": "rnn.args.order",
    "NonlinearityByNameOnly": "rnn.args.order",
    "BatchFirstBeforeBias": "rnn.args.order",
    "ZeroInputSizeAccepted": "rnn.args.sizes.input-size-positive",
    "FloatSizesAccepted": "rnn.args.sizes.integers",
    "FlagsByTruth": "rnn.args.bias.bool",
    "FlagsCheckedLate": "rnn.args.bias.bool",
    "StateSharesOutput": "rnn.effects.results",
}
"""The clause that a planted bug breaks, if not every supported release makes that promise.

The rule that such a bug names has other clauses too, so it is in force in every release.
"""


def skip_unless_promised(*clauses: str) -> None:
    """Skip the test unless the installed torch promises these clauses."""
    missing = [clause for clause in clauses if not is_promised(clause)]
    if missing:
        pytest.skip(f"torch {torch.__version__} does not promise {', '.join(missing)}")


def skip_unless_bug_counts(bug: str) -> None:
    """Skip the test unless the installed torch promises the clauses that a planted bug breaks."""
    skip_unless_promised(*([LATER_PROMISES[bug]] if bug in LATER_PROMISES else []))
    if not select_in_force([find_layer_rule(find_named_rule(bug))]):
        pytest.skip(f"{find_named_rule(bug)} is not in force for torch {torch.__version__}")


def skip_unless_in_force(*rules: str) -> None:
    """Skip the test unless the installed torch promises the clauses of these rules for nn.RNN."""
    found = [find_layer_rule(rule) for rule in rules]
    missing = {each.id for each in found} - {each.id for each in select_in_force(found)}
    if missing:
        pytest.skip(f"torch {torch.__version__} does not promise {', '.join(sorted(missing))}")
