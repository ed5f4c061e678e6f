"""The modules of the standard library, those of newer releases of Python included."""

from __future__ import annotations

import sys

MODULES = frozenset({*sys.stdlib_module_names, "tomllib"})
