"""What a test needs of the release of torch that is installed."""

from __future__ import annotations

import pytest
import torch

from rnnspec.rules.catalogue import find, in_force
from rnnspec.selftest import rule_of
from rnnspec.subjects.release import promised

LATER = {
    "BidirectionalLostBesideRelu": "rnn.args.order",
    "NonlinearityByNameOnly": "rnn.args.order",
    "BatchFirstBeforeBias": "rnn.args.order",
    "ZeroInputSizeAccepted": "rnn.args.sizes.input-size-positive",
    "FloatSizesAccepted": "rnn.args.sizes.integers",
    "FlagsByTruth": "rnn.args.bias.bool",
}
"""Planted bugs that break a promise which not every release makes, though the rule that they name has others too."""


def skip_unless_promised(*clauses: str) -> None:
    """Skip the test where the installed torch does not promise these clauses."""
    missing = [clause for clause in clauses if not promised(clause)]
    if missing:
        pytest.skip(f"torch {torch.__version__} does not promise {', '.join(missing)}")


def skip_unless_due(bug: str) -> None:
    """Skip the test where the installed torch does not promise what a planted bug breaks."""
    skip_unless_promised(*([LATER[bug]] if bug in LATER else []))
    if not in_force([find(rule_of(bug))]):
        pytest.skip(f"{rule_of(bug)} is not in force for torch {torch.__version__}")
