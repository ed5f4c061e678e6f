"""A limit on the work of a search for likely causes."""

from __future__ import annotations

from dataclasses import dataclass

# Measured on 15 planted bugs of nn.RNN and ten layers that no mistake describes: a single search
# took more than 130 sums a case. It went on for 48 s of CPU time and found nothing more. A search
# that uses up the budget takes about 15 s, twice as long as checking the rules; run
# `python -m benchmarks.cost` to count the sums.
LEAST_WORK, WORK_OF_A_CASE = 150_000, 650
"""The budget of a search, in sums of a vector: the minimum, and the share of each checked case."""


@dataclass
class Budget:
    """The work left for a search, in sums of a vector that predictions compute.

    It counts work instead of time, so that the result does not depend on the machine.
    """

    left: float = float("inf")
    is_spent: bool = False

    @classmethod
    def for_cases(cls, cases: int) -> Budget:
        """Return the budget that a search over the failures of this number of cases may use."""
        return cls(float(max(LEAST_WORK, WORK_OF_A_CASE * cases)))

    def take(self, work: int) -> bool:
        """Subtract some work and return True, or return False if there is not enough left."""
        if work > self.left:
            self.is_spent = True
            return False
        self.left -= work
        return True
