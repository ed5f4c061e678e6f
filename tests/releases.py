"""What a test needs of the release of torch that is installed."""

from __future__ import annotations

import pytest
import torch

from rnnspec.rulekit.selection import select_in_force
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import find_named_rule
from rnnspec.subjects.release import is_promised

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
    missing = [clause for clause in clauses if not is_promised(clause)]
    if missing:
        pytest.skip(f"torch {torch.__version__} does not promise {', '.join(missing)}")


def skip_unless_due(bug: str) -> None:
    """Skip the test where the installed torch does not promise what a planted bug breaks."""
    skip_unless_promised(*([LATER[bug]] if bug in LATER else []))
    if not select_in_force([find_layer_rule(find_named_rule(bug))]):
        pytest.skip(f"{find_named_rule(bug)} is not in force for torch {torch.__version__}")
