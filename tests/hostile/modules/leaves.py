"""Ends the process with success on import."""

import os

os._exit(0)
