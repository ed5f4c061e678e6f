"""What the contract says must come out, and the largest error that rounding can explain. NumPy only."""

from rnnspec.oracle.backward import gradients
from rnnspec.oracle.bounds import bound, finite
from rnnspec.oracle.exact import is_exact, is_exact_gradient
from rnnspec.oracle.gradient_bounds import gradient_bound
from rnnspec.oracle.problem import Array, Bound, Problem, Trace
from rnnspec.oracle.rounding import ROUNDINGS, Rounding
from rnnspec.oracle.stack import run

__all__ = [
    "ROUNDINGS",
    "Array",
    "Bound",
    "Problem",
    "Rounding",
    "Trace",
    "bound",
    "finite",
    "gradient_bound",
    "gradients",
    "is_exact",
    "is_exact_gradient",
    "run",
]
