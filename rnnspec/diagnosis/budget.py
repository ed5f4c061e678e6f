"""The work that a search for likely causes may do."""

from __future__ import annotations

from dataclasses import dataclass

# Of 15 planted bugs of nn.RNN and ten layers that no mistake describes, one search took more than
# 130 sums a case. It went on for 48 s of CPU and found nothing more. A search that uses up the
# budget takes about 15 s, twice as long as judging; `python -m benchmarks.cost` counts them.
LEAST_WORK, WORK_OF_A_CASE = 150_000, 650
"""A search may compute this many sums of a vector, or this many for each case that was judged."""


@dataclass
class Budget:
    """The work that a search may still do, in sums of a vector that predictions compute.

    It counts work and not time, so that what is found does not depend on the machine.
    """

    left: float = float("inf")
    is_spent: bool = False

    @classmethod
    def for_cases(cls, cases: int) -> Budget:
        """Return the budget of a search over the failures of a number of judged cases."""
        return cls(float(max(LEAST_WORK, WORK_OF_A_CASE * cases)))

    def take(self, work: int) -> bool:
        """Return whether there is enough left for some work, and take it if so."""
        if work > self.left:
            self.is_spent = True
            return False
        self.left -= work
        return True
