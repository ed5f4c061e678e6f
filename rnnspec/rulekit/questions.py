"""Questions that take further layers or calls, which a campaign puts to few of its failing cases.

Some rules fail only if a layer that is wrong in a case is right in another one, or only if a known
mistake explains the case. A layer that is always wrong has hundreds of such cases, and the answers
take longer than everything else in them. So a campaign postpones a rule that would ask, and the
report asks it in the first of these cases (`rnnspec.engine.postponed`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ARE_POSTPONED: ContextVar[bool] = ContextVar("are_postponed", default=False)


class Postponed(Exception):
    """A rule would need further layers or calls to judge a case in which results are wrong."""


@contextmanager
def postpone_questions() -> Iterator[None]:
    """Let `ask_question` raise Postponed in this context."""
    token = _ARE_POSTPONED.set(True)
    try:
        yield
    finally:
        _ARE_POSTPONED.reset(token)


@contextmanager
def answer_questions() -> Iterator[None]:
    """Answer questions in this context, even if they are postponed around it."""
    token = _ARE_POSTPONED.set(False)
    try:
        yield
    finally:
        _ARE_POSTPONED.reset(token)


def ask_question() -> None:
    """Announce that the answer to a question takes further layers or calls.

    Raises Postponed if questions are postponed.
    """
    if _ARE_POSTPONED.get():
        raise Postponed
