"""Findings about an adapter."""

from __future__ import annotations

from dataclasses import dataclass

from rnnspec.text import TextEnum


class Tone(TextEnum):
    """The verdict of a remark about an adapter."""

    RIGHT = "right"
    WRONG = "wrong"
    LACKS = "lacks"


@dataclass(frozen=True)
class Remark:
    """A finding about an adapter.

    subject       the part of the adapter, or the feature
    tone          whether it is right
    text          the finding in words
    may_be_layer  whether the adapter may be right and the layer wrong
    """

    subject: str
    tone: Tone
    text: str
    may_be_layer: bool = False
