"""Passages and fingerprints: how a docstring is split, what counts as a change, what is stored."""

from __future__ import annotations

import inspect
import io
import json
import re
from contextlib import redirect_stdout

import pytest
import torch

from rnnspec.contract import fingerprints
from rnnspec.contract.fingerprints import (
    PAGES,
    compare_fingerprints,
    compute_fingerprint,
    find_stored_release,
    list_changed_clauses,
    list_changed_passages,
    load_fingerprints,
    read_installed_pages,
)
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


@same_release
def test_running_the_module_prints_the_stored_file() -> None:
    with redirect_stdout(io.StringIO()) as out:
        fingerprints.main(out.write)
    assert json.loads(out.getvalue()) == {
        "torch": find_stored_release(),
        "pages": {page: dict(load_fingerprints(page)) for page in PAGES},
    }


@pytest.fixture
def page() -> str:
    if not here.startswith(f"{find_stored_release()}."):
        pytest.skip(f"the stored page is from torch {find_stored_release()}, this is torch {here}")
    return inspect.cleandoc(read_installed_pages("nn.RNN"))


def test_a_different_indentation_is_not_a_change(page: str) -> None:
    assert list_changed_passages(page.replace("    ", "  ")) == []


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
