"""The positions of a fault's errors in a result, in few enough numbers for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ErrorProfile:
    """The errors along a dimension of a result.

    Each place shows one of the elements at its index: the wrong element with the largest error, or,
    if none is wrong, the element whose error is closest to its bound.

    name    the name of the dimension, such as "time step"
    size    the number of indices; if there are many, neighbours share a place
    errors  the error of the element, or None if it is infinite or not a number
    bounds  the error that rounding can explain there, or None if no bound was needed
    wrong   the share of elements that are wrong
    """

    name: str
    size: int
    errors: tuple[float | None, ...]
    bounds: tuple[float | None, ...]
    wrong: tuple[float, ...]


@dataclass(frozen=True)
class WrongShares:
    """The share of wrong elements for each pair of indices in two dimensions.

    rows, columns  the names of the dimensions
    sizes          their sizes
    shares         `shares[row][column]`
    """

    rows: str
    columns: str
    sizes: tuple[int, int]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ErrorMap:
    """The positions of the wrong elements of a result, in one case.

    quantity  the name of the result, such as "output"
    case      the case, in words
    shape     the shape of the result
    wrong     the number of wrong elements
    total     the number of elements
    profiles  the errors along each dimension with several indices
    maps      the share of wrong elements for each pair of these dimensions
    """

    quantity: str
    case: str
    shape: tuple[int, ...]
    wrong: int
    total: int
    profiles: tuple[ErrorProfile, ...]
    maps: tuple[WrongShares, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the map as plain data."""
        profiles = [
            {**vars(each), **{key: list(vars(each)[key]) for key in ("errors", "bounds", "wrong")}}
            for each in self.profiles
        ]
        maps = [
            {**vars(each), "sizes": list(each.sizes), "shares": [list(row) for row in each.shares]}
            for each in self.maps
        ]
        return {**vars(self), "shape": list(self.shape), "profiles": profiles, "maps": maps}
