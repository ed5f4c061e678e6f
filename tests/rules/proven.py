"""Run the reproduction program of a violation: it fails for the bug, passes for torch's layer."""

from __future__ import annotations

from rnnspec.cases.case import Case
from rnnspec.report.execution import is_failing_program
from rnnspec.report.program import write_program
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.target import resolve_target
from tests.releases import LATER_PROMISES, skip_unless_promised
from tests.rules.checking import find_violation, load_standard


def prove_violation(name: str, bug: str, near: Case, seeds: int = 8) -> str:
    """Return what a rule reports for a planted bug: the key of the mistake that it names, or else
    the message.

    Fails unless its reproduction program fails for the bug and passes for the layer of torch.
    """
    skip_unless_promised(*([LATER_PROMISES[bug]] if bug in LATER_PROMISES else []))
    finding = find_violation(name, bug, near, seeds)
    assert finding.snippet is not None, f"{name} has no program for {bug}"
    planted = find_bank(near.config.kind).bugs[bug]
    for layer, expected in ((planted, True), (load_standard(near), False)):
        target = resolve_target(layer)
        source = write_program(target, finding)
        assert is_failing_program(source, target) is expected, f"{layer.__name__}:\n{source}"
    return finding.message if finding.mistake is None else finding.mistake.key
