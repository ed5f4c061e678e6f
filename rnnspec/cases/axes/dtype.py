"""The dtype of a case, and how products in float32 may be rounded."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rnnspec.cases.axes.choice import Choice, Meaning
from rnnspec.contract.features import Feature


@dataclass(frozen=True)
class DTypeMeaning(Meaning):
    """The numbers of a dtype.

    roundoff           half the distance from 1 to the next larger number
    integers           integers up to this size are exact
    program_tolerance  the tolerance of reproduction programs, which use other numbers than the case
    converted_from     the dtype from which a layer is converted before it is checked
    """

    roundoff: float
    integers: float
    program_tolerance: float
    converted_from: str


class DType(Choice):
    """The dtype of parameters, input and state."""

    _value_: DTypeMeaning

    FLOAT64 = DTypeMeaning(
        "float64", "float64", 2.0**-53, 2.0**53, 1e-9, "float32", needs=Feature.FLOAT64
    )
    FLOAT32 = DTypeMeaning(
        "float32", "float32", 2.0**-24, 2.0**24, 1e-4, "float64", needs=Feature.FLOAT32
    )
    BFLOAT16 = DTypeMeaning(
        "bfloat16", "bfloat16", 2.0**-8, 2.0**8, 0.06, "float32", needs=Feature.BFLOAT16
    )
    FLOAT16 = DTypeMeaning(
        "float16", "float16", 2.0**-11, 2.0**11, 0.01, "float32", needs=Feature.FLOAT16
    )

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype in torch."""
        found: torch.dtype = getattr(torch, self.text)
        return found

    @property
    def roundoff(self) -> float:
        """Half the distance from 1 to the next larger number."""
        return self._value_.roundoff

    @property
    def integers(self) -> float:
        """The limit up to which all integers are exact."""
        return self._value_.integers

    @property
    def program_tolerance(self) -> float:
        """The tolerance of reproduction programs."""
        return self._value_.program_tolerance

    @property
    def converted_from(self) -> DType:
        """The dtype from which a layer is converted before it is checked."""
        return DType.parse(self._value_.converted_from)

    @property
    def is_half(self) -> bool:
        """Whether the dtype has 16 bits."""
        return self in HALF_DTYPES


HALF_DTYPES = (DType.BFLOAT16, DType.FLOAT16)


class Float32Precision(Choice):
    """Whether products of float32 numbers may round their operands to TF32."""

    IEEE = Meaning("ieee", "products of float32 numbers keep all their bits")
    TF32 = Meaning("tf32", "products may round their operands to TF32", needs=Feature.TF32)
