"""All models with a planted bug, and the rule that each of them names.

They have docstrings and labels like the bugs of layers, see `rnnspec.selftest.bank`. If you plant a
bug in a model, write it in the module of its topic, and list a new module here.
"""

from __future__ import annotations

from torch import nn

from rnnspec.selftest import (
    model_bugs_calls,
    model_bugs_kinds,
    model_bugs_lengths,
    model_bugs_readout,
    model_bugs_shapes,
    model_bugs_sizes,
    model_bugs_tasks,
    model_bugs_use,
)
from rnnspec.selftest.bank import list_classes, names_rule

BUGS: tuple[type[nn.Module], ...] = tuple(
    bug
    for module in (
        model_bugs_shapes,
        model_bugs_sizes,
        model_bugs_readout,
        model_bugs_calls,
        model_bugs_kinds,
        model_bugs_use,
        model_bugs_lengths,
        model_bugs_tasks,
    )
    for bug in list_classes(module, nn.Module).values()
    if names_rule(bug)
)
