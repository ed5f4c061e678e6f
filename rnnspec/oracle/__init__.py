"""What the contract says must come out, and the largest error that rounding can explain. NumPy only."""

from rnnspec.oracle.backward import gradients
from rnnspec.oracle.bounds import bound
from rnnspec.oracle.problem import Bound, Problem, Trace
from rnnspec.oracle.rounding import ROUNDINGS, Rounding
from rnnspec.oracle.stack import run

__all__ = ["ROUNDINGS", "Bound", "Problem", "Rounding", "Trace", "bound", "gradients", "run"]
