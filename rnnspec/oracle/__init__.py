"""The results that the contract requires, and bounds on the errors that rounding can explain.

The oracle uses NumPy alone.
"""

from rnnspec.oracle.backward import Cotangents, compute_gradients
from rnnspec.oracle.bounds import compute_bound, finite
from rnnspec.oracle.certificates import Certificate, certify, certify_gradients, name_shown
from rnnspec.oracle.exact import is_exact, is_exact_gradient
from rnnspec.oracle.gradient_bounds import compute_gradient_bound
from rnnspec.oracle.layers import Array
from rnnspec.oracle.problem import Bound, Problem, Trace
from rnnspec.oracle.rounding import AUTOCAST, FLOAT32_SUMS, ROUNDINGS, Rounding
from rnnspec.oracle.screening import COARSE, FINE, REPEATED_PREDICTION, SMALL_ERROR, SUMMED
from rnnspec.oracle.stack import run_layers

__all__ = [
    "AUTOCAST",
    "COARSE",
    "FINE",
    "FLOAT32_SUMS",
    "REPEATED_PREDICTION",
    "ROUNDINGS",
    "SMALL_ERROR",
    "SUMMED",
    "Array",
    "Bound",
    "Certificate",
    "Cotangents",
    "Problem",
    "Rounding",
    "Trace",
    "certify",
    "certify_gradients",
    "compute_bound",
    "compute_gradient_bound",
    "compute_gradients",
    "finite",
    "is_exact",
    "is_exact_gradient",
    "name_shown",
    "run_layers",
]
