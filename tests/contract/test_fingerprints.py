"""Test passages and fingerprints: how a docstring is split, compared and stored."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from rnnspec.contract import fingerprints
from rnnspec.contract.fingerprints import (
    PAGES,
    compare_fingerprints,
    compute_fingerprint,
    find_examined_release,
    find_stored_release,
    list_changed_clauses,
    list_examined_releases,
    list_pages,
    load_fingerprints,
    read_installed_pages,
)
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.contract.passages import describe_passage, normalise_text, split_passages

DOCSTRING = """__init__(size, bias=True)

    Do a thing with :math:`x`.

    .. math::
        y = x

    where `x` is given.

    A second paragraph,
    over two lines.

    .. code-block:: python

        y = x

    Args:
        size: how large. Default: 1
        bias (bool, optional): whether
            to add

    Inputs: input, hx
        * **input**: the one
        * **hx**: the other

        where:

        .. math::
            N

    Outputs: output
        - **output** of shape `(N)`: the result

    Returns:
        a pair
    Note:
        Sizes are sizes.

    .. note::
        All is initialized.

    .. include:: ../some_note.rst

    Example::

        >>> thing(1)
"""

here = f"{torch.__version__}".split("+")[0]
same_release = pytest.mark.skipif(
    not here.startswith(f"{find_stored_release()}."),
    reason=f"the stored fingerprints are from torch {find_stored_release()}, this is torch {here}",
)


def test_every_passage_has_a_name() -> None:
    assert list(split_passages(DOCSTRING)) == [
        "signature",
        "summary",
        "equation",
        "equation.where",
        "text.1",
        "reference-loop",
        "args",
        "args.size",
        "args.bias",
        "inputs",
        "inputs.input",
        "inputs.hx",
        "inputs.where",
        "outputs",
        "outputs.output",
        "returns",
        "notes.1",
        "notes.initial-values",
        "includes.some_note",
        "examples",
    ]


def test_a_passage_holds_only_its_own_words() -> None:
    found = split_passages(DOCSTRING)
    assert found["args.bias"] == "bias (bool, optional): whether to add"
    assert found["args"] == "Args: size bias"
    assert found["outputs.output"] == "output of shape (N): the result"
    assert found["inputs.where"] == "where: .. math:: N"
    assert found["text.1"] == "A second paragraph, over two lines."


@pytest.mark.parametrize(
    ("passage", "words"),
    [
        ("nn.GRU#args.bias", "nn.GRU: Args, bias"),
        ("nn.GRU#signature", "nn.GRU: signature"),
        ("nn.GRU#notes.new-gate", "nn.GRU: note on new gate"),
        ("nn.LSTM#attributes.weight_hr_l[k]", "nn.LSTM: Attributes, weight_hr_l[k]"),
        ("nn.LSTM#includes.cudnn_persistent_rnn", "nn.LSTM: note on cudnn persistent rnn"),
        ("nn.LSTM#text.1", "nn.LSTM: paragraph 1"),
        ("nn.LSTM#equation.where", "nn.LSTM: below the formula"),
        ("nn.LSTM#examples", "nn.LSTM: Examples"),
    ],
)
def test_a_passage_is_described_in_words(passage: str, words: str) -> None:
    assert describe_passage(passage) == words


@same_release
def test_notes_of_gated_layers_are_named_after_their_subjects() -> None:
    found = {
        page: [name for name in split_passages(read_installed_pages(page)) if "notes" in name]
        for page in ("nn.GRU", "nn.LSTM")
    }
    shared = ["notes.initial-values", "notes.directions"]
    assert found == {
        "nn.GRU": [*shared, "notes.batch-first", "notes.new-gate"],
        "nn.LSTM": [*shared, "notes.last-output", "notes.batch-first", "notes.proj-size"],
    }


@same_release
def test_the_clauses_of_a_changed_page_of_another_kind_are_listed() -> None:
    old = read_installed_pages("nn.GRU")
    new = old.replace("For bidirectional GRUs, forward", "For bidirectional GRUs, the forward")
    assert [clause.id for clause in list_changed_clauses(new, "nn.GRU")] == [
        "rnn.output.directions",
        "rnn.output.view",
    ]


def test_markup_and_white_space_are_ignored() -> None:
    assert normalise_text("* **a**  is\n   :math:`x`  or :attr:`y`") == normalise_text(
        "a is x or y"
    )


def test_an_empty_docstring_has_no_passages() -> None:
    assert split_passages("") == {}


def test_a_fingerprint_is_sixteen_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", compute_fingerprint("a"))
    assert compute_fingerprint("a") != compute_fingerprint("b")


@same_release
@pytest.mark.parametrize("page", PAGES)
def test_the_stored_fingerprints_match_the_installed_torch(page: str) -> None:
    assert compare_fingerprints(read_installed_pages(page), page) == {}


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_of_an_examined_release_match_its_fingerprints(page: str) -> None:
    release = find_examined_release(here)
    if not here.startswith(f"{release}."):
        pytest.skip(f"torch {here} was not examined")
    assert compare_fingerprints(read_installed_pages(page), page, release) == {}


def test_releases_are_examined_in_order_and_the_nearest_earlier_one_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = {"torch": "2.9", "pages": {}, "releases": {"2.10": {}, "2.2": {}}}
    monkeypatch.setattr(fingerprints, "_load_data", lambda: data)
    assert list_examined_releases() == ["2.2", "2.9", "2.10"]
    assert [
        find_examined_release(each) for each in ("2.10.1+cpu", "3.0.0a1", "2.9.1", "2.5", "1.8")
    ] == ["2.10", "2.10", "2.9", "2.2", "2.2"]


def test_fingerprints_of_another_release_are_stored_as_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages = {"nn.RNN": {"summary": "a", "args": "b", "notes.1": "c"}, "nn.GRU": {"summary": "d"}}
    differences = {"nn.RNN": {"args": "e", "notes.1": None, "returns": "f"}}
    data = {"torch": "2.9", "pages": pages, "releases": {"2.8": differences}}
    monkeypatch.setattr(fingerprints, "_load_data", lambda: data)
    assert load_fingerprints("nn.RNN") == pages["nn.RNN"]
    assert load_fingerprints("nn.RNN", "2.8") == {"summary": "a", "args": "e", "returns": "f"}
    assert load_fingerprints("nn.GRU", "2.8") == pages["nn.GRU"]
    with pytest.raises(KeyError, match=re.escape("torch 2.7 was not examined.")):
        load_fingerprints("nn.RNN", "2.7")


def test_a_page_that_a_release_does_not_have_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAGES, "nn.RNN.gone", ("torch.nn", "RNN.gone.since"))
    assert read_installed_pages("nn.RNN.gone") == ""


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_clauses_about_a_kind_come_from_its_page_and_from_shared_ones(kind: Kind) -> None:
    pages = list_pages(kind.name)
    assert {kind.page, "nn.Module.load_state_dict"} <= set(pages)
    assert ("PackedSequence" in pages) is not kind.is_cell
    assert not {other.page for other in KINDS.values() if other is not kind} & set(pages)


@pytest.fixture
def page() -> str:
    if not here.startswith(f"{find_stored_release()}."):
        pytest.skip(f"the stored page is from torch {find_stored_release()}, this is torch {here}")
    return inspect.cleandoc(read_installed_pages("nn.RNN"))


def test_a_different_indentation_is_not_a_change(page: str) -> None:
    assert compare_fingerprints(page.replace("    ", "  ")) == {}


def test_a_different_word_changes_one_passage(page: str) -> None:
    assert compare_fingerprints(page.replace("Default: ``'tanh'``", "Default: ``'relu'``")) == {
        "args.nonlinearity": "changed"
    }


def test_a_renamed_argument_is_one_missing_and_one_new(page: str) -> None:
    changes = compare_fingerprints(page.replace("dropout: If", "drop: If"))
    assert changes == {"args": "changed", "args.dropout": "missing", "args.drop": "new"}


def test_a_removed_note_is_missing_and_the_others_keep_their_names(page: str) -> None:
    start = page.index(".. note::")
    shorter = page[:start] + page[page.index(".. note::", start + 1) :]
    assert compare_fingerprints(shorter) == {"notes.initial-values": "missing"}


def test_an_added_note_is_new(page: str) -> None:
    assert compare_fingerprints(page + "\n\n.. note::\n    Something else.\n") == {"notes.1": "new"}


def test_the_clauses_of_a_changed_passage_are_listed(page: str) -> None:
    changed = list_changed_clauses(page.replace("Default: ``'tanh'``", "Default: ``'relu'``"))
    assert [clause.id for clause in changed] == [
        "rnn.args.nonlinearity.values",
        "rnn.args.nonlinearity.default",
    ]


def test_an_unknown_page_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(
        KeyError,
        match=re.escape("no clause comes from a page named 'nn.RNM'. Did you mean 'nn.RNN'"),
    ):
        load_fingerprints("nn.RNM")
