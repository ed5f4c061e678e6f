"""The version of rnnspec, defined only here."""

__version__ = "0.1.0"
