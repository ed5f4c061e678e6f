"""The documented contract of torch.nn.RNN as an executable specification."""

from rnnspec._version import __version__

__all__ = ["__version__"]
