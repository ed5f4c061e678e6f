"""All models with a planted bug, and the rule that each of them names.

They have docstrings and labels like the bugs of layers, see `rnnspec.selftest.bank`.
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

BUGS: tuple[type[nn.Module], ...] = (
    *model_bugs_shapes.BUGS,
    *model_bugs_sizes.BUGS,
    *model_bugs_readout.BUGS,
    *model_bugs_calls.BUGS,
    *model_bugs_kinds.BUGS,
    *model_bugs_use.BUGS,
    *model_bugs_lengths.BUGS,
    *model_bugs_tasks.BUGS,
)
