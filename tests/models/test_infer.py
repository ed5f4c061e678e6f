"""Test the inputs of a model: given, inferred with a note on the source, or refused."""

from __future__ import annotations

import pytest
from torch import nn

from rnnspec.models import RNN1, BiRNN, CannotInfer, Interface, infer_interface
from rnnspec.selftest.model_correct_other import LinearBefore


def test_the_vocabulary_comes_from_the_first_embedding() -> None:
    found = infer_interface(RNN1(10, 4, 8, 1))
    notes = ("vocabulary=10, from embedding (Embedding(10, 4))",)
    assert found == Interface(10, inferred=notes, has_inferred_vocabulary=True)
    assert found.takes_tokens


def test_the_width_comes_from_the_first_recurrent_layer() -> None:
    found = infer_interface(BiRNN(3, 4))
    assert (found.vocabulary, found.features) == (None, 3)
    assert found.inferred == (
        "features=3, from rnn (RNN(3, 4, batch_first=True, bidirectional=True))",
    )


def test_a_bare_layer_is_a_model_too() -> None:
    assert infer_interface(nn.GRU(7, 2)).inferred[0].startswith("features=7, from the model itself")


def test_a_linear_layer_before_the_recurrent_layer_gives_the_width() -> None:
    found = infer_interface(LinearBefore())
    assert found.features == 3
    assert found.inferred[0].startswith(
        "features=3, from into (Linear(in_features=3, out_features=8"
    )


def test_the_padding_id_comes_from_the_embedding() -> None:
    found = infer_interface(nn.Sequential(nn.Embedding(9, 4, padding_idx=2)))
    assert found.padding == 2
    assert found.inferred[1] == "padding id 2, from 0.padding_idx"


def test_given_options_are_not_inferred() -> None:
    assert infer_interface(RNN1(10, 4, 8, 1), vocabulary=6).inferred == ()
    assert infer_interface(RNN1(10, 4, 8, 1), features=4) == Interface(features=4)
    assert infer_interface(len, vocabulary=6, batch_first=False) == Interface(6, batch_first=False)


def test_a_model_that_shows_nothing_is_refused_by_name() -> None:
    with pytest.raises(
        CannotInfer, match=r"Linear has neither an nn.Embedding nor a recurrent layer"
    ):
        infer_interface(nn.Linear(3, 4))
    with pytest.raises(CannotInfer, match="builtin_function_or_method has neither"):
        infer_interface(len)


@pytest.mark.parametrize(
    ("vocabulary", "features", "message"),
    [
        (5, 6, "vocabulary=5, features=6"),
        (None, None, "vocabulary=None, features=None"),
        (0, None, "vocabulary must be at least 1, got 0"),
        (None, -1, "features must be at least 1, got -1"),
    ],
)
def test_contradictions_and_impossible_sizes_are_refused(
    vocabulary: int | None, features: int | None, message: str
) -> None:
    with pytest.raises(CannotInfer, match=message):
        Interface(vocabulary, features)
