"""Find the line of a model's own source that is running."""

from __future__ import annotations

import inspect
import linecache
from pathlib import Path
from types import FrameType

import torch

from rnnspec.readout.map import SourceLine

FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
"""Folders of code that does not belong to the model: torch, and the code that calls the model."""

MODELS = ("tutorial.py", "bidirectional.py")
"""The files in these folders that contain models."""


def find_source_line() -> SourceLine | None:
    """Return the innermost running line that belongs to the model, if it has a source."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and is_foreign(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return None
    path, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(path, number, frame.f_globals).strip()
    return SourceLine(path, number, text) if text else None


def is_foreign(path: str) -> bool:
    """Return whether a file contains code of torch, or code that calls the model."""
    return path.startswith(FOREIGN) and not path.endswith(MODELS)
