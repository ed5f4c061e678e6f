"""Questions that take further layers or calls, which a campaign asks in few of its failing cases.

Some rules fail only if a layer that is wrong in one case is right in another, or only if a known
mistake explains the case. A layer that is always wrong has hundreds of such cases, and the answers
take longer than everything else in them. So a campaign postpones a rule that would ask a question,
and the rule is checked later in only a few of these cases (`rnnspec.engine.postponed`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ARE_POSTPONED: ContextVar[bool] = ContextVar("are_postponed", default=False)


class Postponed(Exception):
    """A rule needs further layers or calls to check a case with wrong results."""


@contextmanager
def postpone_questions() -> Iterator[None]:
    """Make `ask_question` raise Postponed in this context."""
    token = _ARE_POSTPONED.set(True)
    try:
        yield
    finally:
        _ARE_POSTPONED.reset(token)


@contextmanager
def answer_questions() -> Iterator[None]:
    """Answer questions in this context, even inside `postpone_questions`."""
    token = _ARE_POSTPONED.set(False)
    try:
        yield
    finally:
        _ARE_POSTPONED.reset(token)


def ask_question() -> None:
    """Announce that the next check of your rule uses further layers or calls.

    Ask before you build or call them: if questions are postponed, this raises Postponed, and your
    rule is checked again in a few of the failing cases.
    """
    if _ARE_POSTPONED.get():
        raise Postponed
