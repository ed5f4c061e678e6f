"""Whether the lines that a finding proves itself with fail for the layer and hold for torch.nn.RNN."""

from __future__ import annotations

from torch import nn

from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding
from rnnspec.report.program import does_program_fail, write_program
from rnnspec.selftest import BUGS
from rnnspec.subjects.target import resolve_target
from tests.releases import LATER, skip_unless_promised
from tests.rules.judged import verdict


def told_and_proven(name: str, bug: str, near: Case, seeds: int = 8) -> str:
    """What a rule tells of a planted bug; fails unless its program fails for the bug and passes for torch.nn.RNN."""
    skip_unless_promised(*([LATER[bug]] if bug in LATER else []))
    finding = verdict(name, BUGS[bug], near, seeds)
    assert isinstance(finding, Finding), f"{name} says {finding} of {bug}"
    assert not finding.blocked, f"{name} is blocked by {bug}: {finding.message}"
    assert finding.snippet, f"{name} proves nothing of {bug}"
    for kind, expected in ((BUGS[bug], True), (nn.RNN, False)):
        source = write_program(resolve_target(kind), finding)
        assert does_program_fail(source, resolve_target(kind)) is expected, (
            f"{kind.__name__}:\n{source}"
        )
    return finding.message
