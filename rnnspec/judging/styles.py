"""Ways of building the same layer, compared: what works in one and not in the other is the fault of the way."""

from __future__ import annotations

from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.judging.builds import Construction
from rnnspec.judging.violation import Violation, agree, violated
from rnnspec.observe.observation import Observation
from rnnspec.subjects.failures import Failure, Refused

WORDS = {
    "named": "built by keyword",
    "positional": "built by position",
    "keywords": "built with every argument given",
    "changed": "built with defaults",
}
DEFAULTS = {name: value for name, value in Config(1, 1).arguments.items() if name not in ("input_size", "hidden_size")}
PROOF = """other = {call}.to({dtype}).train({train})
standard = {standard}.to({dtype}).train({train})
other.load_state_dict(standard.state_dict())
torch.manual_seed(0)
x = torch.randn({shape}).to({dtype})
close(other(x)[0], standard(x)[0])
close(other(x)[1], standard(x)[1])"""


def only_by(seen: Observation, style: str, other: str, *, bare: bool = False) -> None:
    """Raise Violation where a layer built in one style is not the documented one, and built in the other it is, or is wrong otherwise.

    The configuration is the case's, or where `bare` nothing but its sizes.
    """
    case = _bare(seen) if bare else seen.case
    fault = _fault(seen, case.altered(history="fresh", build=style))
    if fault is not None and fault != _fault(seen, case.altered(history="fresh", build=other)):
        raise violated(f"{WORDS[style]}: {fault}", _proof(seen, case, style))


def _bare(seen: Observation) -> Case:
    """The case with every argument at its default, those that the user fixed excepted."""
    fixed = {name: value for name, value in seen.subject.fixed.items() if name in DEFAULTS}
    return seen.case.altered(**{**DEFAULTS, **fixed, "values": "plain"})


def _fault(seen: Observation, case: Case) -> str | None:
    """What is wrong with the results of a case in a layer of its own, or None; raises Refused where it is refused openly."""
    layer = Observation(seen.subject, case, seen.values if case.config == seen.case.config else None)
    expected = seen.expected if case.config == seen.case.config else layer.expected
    try:
        agree(layer, "output", layer.output, expected.output, lambda: expected.bound.output)
        agree(layer, "h_n", layer.h_n, expected.h_n, lambda: expected.bound.h_n)
    except Refused:
        raise
    except (Violation, Failure) as fault:
        return str(fault)
    return None


def _proof(seen: Observation, case: Case, style: str) -> str:
    call = Construction(*seen.subject.arguments(case.config, style))
    standard = "torch.nn.RNN" + str(Construction((), case.config.changed)).removeprefix("build")
    padded = case.altered(layout="batched")
    return PROOF.format(
        call=call,
        standard=standard,
        dtype=f"torch.{case.dtype}",
        train=case.mode == "train",
        shape=", ".join(map(str, padded.shape)),
    )
