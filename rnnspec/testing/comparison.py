"""Compare two modules as a pytest test, with a test id for each part of the comparison."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnspec.api.compare import compare
from rnnspec.comparing.explanation import ComparisonPart
from rnnspec.comparing.report import ComparisonReport, format_fault
from rnnspec.errors import DeviceError, RnnspecError
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.options import CompareOptions, show_options
from rnnspec.testing.layer import Test


class Compared:
    """A comparison shared by several tests; the first test makes it."""

    def __init__(self, make_report: Callable[[], ComparisonReport]) -> None:
        self._make_report = make_report
        self.is_refusal_reported = False
        self.asked: set[ComparisonPart] = set()

    @functools.cached_property
    def outcome(self) -> ComparisonReport | RnnspecError:
        """The report, or the error that prevented the comparison."""
        try:
            return self._make_report()
        except RnnspecError as error:
            return error


@dataclass(frozen=True)
class PartTest:
    """The `part` argument of a test: a part of a comparison."""

    part: ComparisonPart
    compared: Compared

    def check(self) -> None:
        """Fail your test if the part has a fault, or if the time was over before it was compared.

        Your test is skipped if other faults prevent the comparison of the part, or if torch does
        not have the device. If nothing can be compared for any other reason, the first test fails
        with that reason and the others are skipped.
        """
        import pytest

        self.compared.asked.add(self.part)
        report = self.compared.outcome
        if isinstance(report, RnnspecError):
            if isinstance(report, DeviceError) or self.compared.is_refusal_reported:
                pytest.skip(str(report))
            self.compared.is_refusal_reported = True
            pytest.fail(str(report), pytrace=False)
        own = [each for each in report.faults if each.part == str(self.part)]
        if own:
            pytest.fail("\n".join(map(format_fault, own)), pytrace=False)
        if str(self.part) in report.not_compared and report.is_cut:
            pytest.fail(f"the time was over before {self.part} were compared", pytrace=False)
        if str(self.part) in report.not_compared:
            pytest.skip(f"other faults show in {self.part} too")


@show_options(CompareOptions)
def comparison(
    reference: Any,
    candidate: Any,
    *,
    isolate: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    memory: int | None = None,
    **options: Any,
) -> Callable[[Test], Test]:
    """Parametrize a pytest test over the parts of a comparison; its argument `part` has `check()`.

    The parts are calls, values, uses and gradients. Use the same arguments as for
    `rnnspec.compare`. All parts share a comparison, which the first test makes. Your test fails if
    it never calls `part.check()`. Raises TypeError for an unknown option.
    """
    import pytest

    chosen = CompareOptions.from_keywords("comparison", options)
    where: dict[str, Any] = {"isolate": isolate, "timeout": timeout, "memory": memory}
    compared = Compared(lambda: compare(reference, candidate, **where, **vars(chosen)))
    tests = [pytest.param(PartTest(each, compared), id=str(each)) for each in ComparisonPart]
    parametrize = pytest.mark.parametrize("part", tests)
    return lambda test: parametrize(_require_check(test))


def _require_check(test: Test) -> Test:
    """Wrap a test so that it fails if it passes without using the result of its part."""
    import pytest

    @functools.wraps(test)
    def check_and_test(*args: Any, part: PartTest, **given: Any) -> None:
        part.compared.asked.discard(part.part)
        test(*args, part=part, **given)
        if part.part not in part.compared.asked:
            pytest.fail("call part.check(); without it, nothing is compared", pytrace=False)

    return check_and_test  # type: ignore[return-value]
