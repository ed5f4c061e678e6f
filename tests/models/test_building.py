"""The arguments of a constructor that are chosen: from names, annotations, code and errors."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
import torch
from torch import nn

from rnnspec.models.building.meanings import ArgumentMeaning, find_meaning
from rnnspec.models.building.search import ArgumentSearch, refuse_descriptors


class Cell(Enum):
    GRU = "gru"
    LSTM = "lstm"


class FromNested(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.rnn = nn.GRU(config.embedding.dim, config.encoder.hidden, config.encoder.layers)


class FromVocabulary(nn.Module):
    def __init__(self, vocab: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab.size, 4, padding_idx=vocab.stoi["<blank>"])
        self.scores = nn.Linear(4, len(vocab))


class FromKeywords(nn.Module):
    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.rnn = nn.GRU(given["n_features"], given["hidden_size"])


class FromAnnotations(nn.Module):
    def __init__(self, kind: Cell, level: Literal["word", "char"], x: bool, sizes: list[int]):
        super().__init__()
        assert isinstance(kind, Cell)
        assert level == "word"
        assert isinstance(x, bool)
        self.out = nn.Linear(sizes[0], sizes[1])


class FromStrings(nn.Module):
    def __init__(self, flavour: str, n: int) -> None:
        super().__init__()
        if flavour not in ("vanilla", "peephole"):
            raise ValueError(flavour)
        self.rnn = nn.LSTM(n, n)


def choose(target: Any, **given: Any) -> dict[str, str]:
    search = ArgumentSearch(target, given, lambda chosen: target(**given, **chosen))
    chosen, model = next(search.list_models())
    assert isinstance(model, nn.Module)
    return {name: repr(value) for name, value in chosen.items()}


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("vocab_size", ArgumentMeaning.VOCABULARY),
        ("ntoken", ArgumentMeaning.VOCABULARY),
        ("hidden_dim", ArgumentMeaning.HIDDEN),
        ("lstm_units", ArgumentMeaning.HIDDEN),
        ("n_layers", ArgumentMeaning.LAYERS),
        ("num_hidden_layers", ArgumentMeaning.LAYERS),
        ("dropout_p", ArgumentMeaning.DROPOUT),
        ("numClasses", ArgumentMeaning.OUTPUTS),
        ("embeddingDim", ArgumentMeaning.EMBEDDING),
        ("n_mels", ArgumentMeaning.FEATURES),
        ("seq_len", ArgumentMeaning.STEPS),
        ("max_len", ArgumentMeaning.LIMIT),
        ("pred_len", ArgumentMeaning.HORIZON),
        ("rnn_type", ArgumentMeaning.KIND),
        ("attn_model", ArgumentMeaning.ATTENTION),
        ("use_gpu", ArgumentMeaning.GPU),
        ("batchSize", ArgumentMeaning.BATCH),
        ("embed_num", ArgumentMeaning.VOCABULARY),
        ("n_gaussians", ArgumentMeaning.MIXTURES),
        ("quux", ArgumentMeaning.UNKNOWN),
    ],
)
def test_a_name_has_a_meaning(name: str, meaning: ArgumentMeaning) -> None:
    assert find_meaning(name) is meaning


def test_entries_of_one_line_are_distinguished() -> None:
    text = choose(FromNested)["config"]
    assert text.startswith("types.SimpleNamespace(embedding=types.SimpleNamespace(dim=8), encoder=")
    assert "hidden=8" in text
    assert "layers=2" in text


def test_a_vocabulary_gets_the_words_and_attributes_that_are_read() -> None:
    text = choose(FromVocabulary)["vocab"]
    assert "'size': property(len), 'stoi': property(dict)" in text
    assert "'<blank>'" in text


def test_entries_of_keywords_are_found_out() -> None:
    assert choose(FromKeywords) == {"n_features": "6", "hidden_size": "8"}
    assert choose(FromKeywords, hidden_size=5) == {"n_features": "6"}


def test_annotations_and_strings_in_the_code_are_read() -> None:
    assert choose(FromAnnotations) == {
        "kind": "Cell.GRU",
        "level": "'word'",
        "x": "False",
        "sizes": "[8, 8]",
    }
    assert choose(FromStrings)["flavour"] == "'vanilla'"


class ReadsFiles(nn.Module):
    """Loads what a configuration names, if it names it."""

    def __init__(self, args: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(args.embed_num, args.embed_dim)
        if args.vectors and not args.is_random:
            with open(args.vectors, "rb") as file:
                self.words.load_state_dict(torch.load(file))
        if args.checkpoint is None:
            self.rnn = nn.GRU(args.embed_dim, args.hidden_size)
        else:
            self.rnn = torch.load(args.checkpoint)


def test_a_part_of_a_constructor_that_cannot_be_run_is_switched_off() -> None:
    text = choose(ReadsFiles)["args"]
    assert "vectors=None" in text
    assert "checkpoint=None" in text
    assert "embed_num=20" in text


class NeedsFile(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.rnn = nn.GRU(config.n_features, config.hidden_size)
        with open(config.vectors) as file:
            self.words = file.read()


def test_the_attempt_that_came_furthest_is_reported() -> None:
    search = ArgumentSearch(NeedsFile, {}, lambda chosen: NeedsFile(**chosen))
    assert list(search.list_models()) == []
    assert repr(search.values["config"]) == "types.SimpleNamespace(n_features=6, hidden_size=8)"
    assert "no attribute 'vectors'" in str(search.error)


def test_a_number_is_no_open_file() -> None:
    with refuse_descriptors(), pytest.raises(FileNotFoundError, match="no such file: 1"):
        open(1)  # noqa: SIM115
