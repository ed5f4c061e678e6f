"""The work that a search for likely causes may do."""

from __future__ import annotations

from dataclasses import dataclass

# Measured by `python -m benchmarks.cost`, see below.
LEAST_WORK, WORK_OF_A_CASE = 150_000, 650
"""A search may compute this many sums of a vector, or this many for each case that was judged.

A sum takes about 0.2 ms, so that a search takes at most about four times as long as judging a quick
run of an RNN, and twice as long as judging one of an LSTM. Of 16 planted bugs and ten layers that
no mistake describes, none needed more than 180 for a case (`python -m benchmarks.cost`).
"""


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
