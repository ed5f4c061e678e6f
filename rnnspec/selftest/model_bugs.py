"""All models with a planted bug, and the rule that each of them names.

Their docstrings are written and read as those of the bugs of layers, see `rnnspec.selftest.bank`.
"""

from __future__ import annotations

from rnnspec.selftest import model_bugs_calls, model_bugs_readout, model_bugs_shapes
from rnnspec.selftest.model_plain import LastStep

BUGS: tuple[type[LastStep], ...] = (
    *model_bugs_shapes.BUGS,
    *model_bugs_readout.BUGS,
    *model_bugs_calls.BUGS,
)
