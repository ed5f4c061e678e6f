"""Ends the process with a segmentation fault on import."""

import ctypes

ctypes.string_at(0)
