"""The names of the inputs, and of the dimensions of inputs and results."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from rnnspec.comparing.evaluation import Pair, PairCase
from rnnspec.comparing.sizes import Sizes, list_arguments


class Names:
    """The names of the inputs, and of the dimensions of inputs and results, in a case."""

    def __init__(self, pair: Pair, case: PairCase) -> None:
        self.inputs = name_inputs(pair, case)
        self._pair, self._case = pair, case
        shapes = self._list_shapes(case.sizes)
        self._dimensions: dict[tuple[int | str, int], str] = {}
        for name, size in case.sizes.items():
            with_more = self._list_shapes({**case.sizes, name: size + 1})
            for key, shape in shapes.items():
                others = with_more.get(key, ())
                for place, (one, other) in enumerate(zip(shape, others, strict=False)):
                    if one != other:
                        self._dimensions.setdefault((key, place), name)

    def _list_shapes(self, sizes: Sizes) -> dict[int | str, tuple[int, ...]]:
        case = replace(self._case, sizes=sizes)
        found: dict[int | str, tuple[int, ...]] = {}
        try:
            given = self._pair.make_given(case)
            module = self._pair.build_reference(case)
            results = self._pair.call(self._pair.recipe.reference, module, given, case)
        except Exception:  # the reference may refuse these sizes
            return {}
        for index, each in enumerate(given.list_values()):
            if isinstance(each, Tensor):
                found[index] = tuple(each.shape)
        return {**found, **{name: tuple(each.shape) for name, each in results.items()}}

    def find_name(self, owner: int | str, dimension: int) -> str:
        """Return the name of the size of a dimension of an input or a result."""
        return self._dimensions.get((owner, dimension), "")

    def find_dimension(self, owner: int | str, name: str) -> int | None:
        """Return the dimension of an input or a result that has a size of this name."""
        found = (place for (key, place), each in self._dimensions.items() if key == owner)
        return next((place for place in found if self.find_name(owner, place) == name), None)


def name_inputs(pair: Pair, case: PairCase) -> list[str]:
    """Return the names of the arguments of a call."""
    forward = getattr(pair.recipe.reference.target.factory, "forward", None)
    return list_arguments(forward, pair.make_given(case), skipped=1)
