"""The classes whose documentation is the contract of a kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from rnnspec.contract.kinds import GRU, KINDS, Kind
from rnnspec.report.program import find_reference
from rnnspec.subjects.documented import (
    find_documented_kind,
    is_derived,
    list_documented,
    load_documented,
)

OF_A_USER = replace(GRU, name="minimal", title="MinimalGRU", documented="")


class Derived(nn.LSTM):
    """A layer that is derived from one of torch."""


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_kind_of_torch_is_documented_by_a_class_of_its_title(kind: Kind) -> None:
    layer = load_documented(kind)
    assert layer is not None
    assert layer.__name__ == kind.title
    assert find_documented_kind(layer) is kind


def test_a_derived_class_has_the_kind_of_its_base() -> None:
    kind = find_documented_kind(Derived)
    assert kind is not None
    assert kind.title == "LSTM"
    assert find_documented_kind(nn.Linear) is None


def test_a_kind_that_torch_does_not_have_is_documented_by_no_class() -> None:
    assert load_documented(OF_A_USER) is None
    assert list_documented((OF_A_USER, GRU)) == (nn.GRU,)
    assert not is_derived(nn.GRU, OF_A_USER)
    with pytest.raises(ValueError, match="no class documents the kind minimal"):
        find_reference(OF_A_USER)
