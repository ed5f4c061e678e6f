"""Test the clauses: errors of the loader, the lookup of ids and releases, and the data.

The data must be complete, and it must be in our own words.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rnnspec.contract.clauses import (
    FILES,
    Clause,
    ContractError,
    Level,
    Promise,
    Provenance,
    UnknownClause,
    find_clause,
    find_source,
    is_in_force,
    load_clauses,
    parse_clauses,
)
from rnnspec.contract.fingerprints import (
    PAGES,
    find_stored_release,
    load_fingerprints,
    read_installed_pages,
)
from rnnspec.contract.kinds import KINDS, LAYER_KINDS, Kind
from rnnspec.contract.passages import split_passages

GOOD = {
    "id": "rnn.h_n.order",
    "text": "Layers in order.",
    "source": "a page",
    "level": "MUST",
    "provenance": "documented",
    "since": "1.8",
}
same_release = pytest.mark.skipif(
    not torch.__version__.startswith(f"{find_stored_release()}."),
    reason=f"the passages are those of torch {find_stored_release()}",
)
PUBLISHED = Path(__file__).with_name("published_ids.txt")
ROOT = Path(__file__).parents[2]


def toml(**changes: str | None) -> str:
    """Return a data file with one clause: GOOD with some values changed, or left out if None."""
    lines = [f'{key} = "{value}"' for key, value in (GOOD | changes).items() if value is not None]
    return "\n".join(["[[clause]]", *lines])


BAD = {
    "invalid TOML": ("id =", "f.toml: Invalid value (at end of document)"),
    "unknown table": ("[[claus]]", "f.toml: unknown key 'claus'. Did you mean 'clause'?"),
    "not a table": ("clause = [1]", "f.toml: clause number 1: expected a table, got 1"),
    "no id": (toml(id=None), "f.toml: clause number 1: id is missing"),
    "no text": (toml(text=None), "f.toml: clause 'rnn.h_n.order': text is missing"),
    "empty text": (
        toml(text=" "),
        "f.toml: clause 'rnn.h_n.order': text must be a non-empty string, got ' '",
    ),
    "number": (
        toml() + "\nuntil = 2.1",
        "f.toml: clause 'rnn.h_n.order': until must be a non-empty string, got 2.1",
    ),
    "unknown key": (
        toml(passsage="x"),
        "f.toml: clause 'rnn.h_n.order': unknown key 'passsage'. Did you mean 'passage'?",
    ),
    "far key": (toml(colour="x"), "f.toml: clause 'rnn.h_n.order': unknown key 'colour'."),
    "level": (
        toml(level="MUSTN"),
        "f.toml: clause 'rnn.h_n.order': level must be one of MUST, SHOULD, NOTE, got 'MUSTN'. "
        "Did you mean 'MUST'?",
    ),
    "provenance": (
        toml(provenance="test"),
        "f.toml: clause 'rnn.h_n.order': provenance must be one of documented, tested, enforced, "
        "advice, observed, got 'test'. Did you mean 'tested'?",
    ),
    "both": (
        toml(level="NOTE"),
        "f.toml: clause 'rnn.h_n.order': level must be MUST with provenance documented, got NOTE",
    ),
    "twice": (toml() + "\n" + toml(), "f.toml: two clauses have the id 'rnn.h_n.order'"),
    "capital id": (
        toml(id="rnn.H_n"),
        "f.toml: clause 'rnn.H_n': id must match "
        r"[a-z][a-z0-9]*(-[a-z0-9]+)*(\.[a-z0-9]+([-_][a-z0-9]+)*)+, got 'rnn.H_n'",
    ),
    "since": (
        toml(since="now"),
        r"f.toml: clause 'rnn.h_n.order': since must match \d+\.\d+, got 'now'",
    ),
    "until": (
        toml(until="1.7"),
        "f.toml: clause 'rnn.h_n.order': until '1.7' is before since '1.8'",
    ),
    "kind": (
        toml() + '\nalso = ["grus"]',
        "f.toml: clause 'rnn.h_n.order': no kind of layer is called 'grus'. Did you mean 'gru'?",
    ),
    "kind of a place": (
        toml() + '\nplaces = { lstmm = "a#b" }',
        "f.toml: clause 'rnn.h_n.order': no kind of layer is called 'lstmm'. Did you mean 'lstm'?",
    ),
    "own kind": (
        toml() + '\nalso = ["rnn"]',
        "f.toml: clause 'rnn.h_n.order': the kind 'rnn' is given twice",
    ),
    "kind in both": (
        toml() + '\nalso = ["gru"]\nplaces = { gru = "a#b" }',
        "f.toml: clause 'rnn.h_n.order': the kind 'gru' is given twice",
    ),
    "kinds as text": (
        toml() + '\nalso = "gru"',
        "f.toml: clause 'rnn.h_n.order': expected also = [...] and places = {...}",
    ),
    "place": (
        toml() + "\nplaces = { gru = 1 }",
        "f.toml: clause 'rnn.h_n.order': places.gru: expected PAGE#PASSAGE or a table, got 1",
    ),
    "place without a passage": (
        toml() + '\nplaces = { gru = "nn.GRU" }',
        "f.toml: clause 'rnn.h_n.order': places.gru: passage must match "
        r"[\w.]+#[\w.\[\]-]+, got 'nn.GRU'",
    ),
    "place without anything": (
        toml() + '\nplaces = { gru = { since = "2.0" } }',
        "f.toml: clause 'rnn.h_n.order': places.gru: passage or source is missing",
    ),
    "key of a place": (
        toml() + '\nplaces = { gru = { sourced = "x" } }',
        "f.toml: clause 'rnn.h_n.order': places.gru: unknown key 'sourced'. Did you mean 'source'?",
    ),
    "level of a place": (
        toml() + '\nplaces = { gru = { source = "x", provenance = "enforced" } }',
        "f.toml: clause 'rnn.h_n.order': places.gru: level must be SHOULD with provenance "
        "enforced, got MUST",
    ),
    "releases of a place": (
        toml() + '\nplaces = { gru = { source = "x", until = "1.7" } }',
        "f.toml: clause 'rnn.h_n.order': places.gru: until '1.7' is before since '1.8'",
    ),
    "passage": (
        toml(passage="nowhere"),
        "f.toml: clause 'rnn.h_n.order': passage must match "
        r"[\w.]+#[\w.\[\]-]+, got 'nowhere'",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=list(BAD))
def test_bad_data_is_rejected_with_file_id_and_value(text: str, message: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_clauses(text, "f.toml")
    assert str(caught.value).startswith(message)


def test_good_data_returns_the_clause() -> None:
    expected = Clause(
        "rnn.h_n.order", "Layers in order.", "a page", Level.MUST, Provenance.DOCUMENTED, "1.8"
    )
    assert parse_clauses(toml(), "f.toml") == {"rnn.h_n.order": expected}


def parse_one(**changes: str | None) -> Clause:
    """Return the clause of a data file with one clause."""
    (found,) = parse_clauses(toml(**changes), "f.toml").values()
    return found


def parse_with(more: str, **changes: str | None) -> Clause:
    """Return the clause of a data file with one clause that has more than strings."""
    (found,) = parse_clauses(f"{toml(**changes)}\n{more}", "f.toml").values()
    return found


def test_the_kinds_of_a_clause_are_those_of_its_id_and_of_its_places() -> None:
    assert parse_one().kinds == ("rnn",)
    assert parse_one(id="gru.h_n").kinds == ("gru",)
    assert parse_one(id="packing.order").kinds == tuple(LAYER_KINDS)
    assert parse_with('also = ["lstm"]', id="gru.h_n").kinds == ("gru", "lstm")
    several = parse_with('also = ["lstm"]\nplaces = { rnn = "nn.RNN#args" }', id="gru.h_n")
    assert several.kinds == ("rnn", "gru", "lstm")


def test_a_place_inherits_from_its_clause_the_entries_that_it_omits() -> None:
    clause = parse_with(
        'also = ["gru"]\nplaces.lstm = { source = "a test", provenance = "tested", since = "2.0" }',
        passage="nn.RNN#args",
        until="2.9",
    )
    own = Promise("a page", Provenance.DOCUMENTED, "1.8", "2.9", "nn.RNN#args")
    assert clause.places == {
        "rnn": own,
        "gru": own,
        "lstm": Promise("a test", Provenance.TESTED, "2.0", "2.9"),
    }


def test_a_passage_as_a_place_is_documented_and_described() -> None:
    clause = parse_with(
        'places = { gru = "nn.GRU#args.bias" }', provenance="tested", source="a test"
    )
    assert clause.places["gru"] == Promise(
        "nn.GRU: Args, bias", Provenance.DOCUMENTED, "1.8", None, "nn.GRU#args.bias"
    )
    assert find_source(clause, "gru") == "nn.GRU: Args, bias"
    assert find_source(clause, "rnn") == find_source(clause, "lstm") == "a test"


def test_a_clause_is_in_force_only_for_its_kinds_and_their_releases() -> None:
    clause = parse_with('places.gru = { passage = "nn.GRU#args", since = "1.13", until = "2.0" }')
    assert [is_in_force(clause, "1.12", kind) for kind in LAYER_KINDS] == [True, False, False]
    assert [is_in_force(clause, "2.0.1", kind) for kind in LAYER_KINDS] == [True, True, False]
    assert [is_in_force(clause, "2.1", kind) for kind in LAYER_KINDS] == [True, False, False]
    assert not is_in_force(clause, "2.0", "no such kind")


def test_a_file_without_clauses_has_none() -> None:
    assert parse_clauses("", "f.toml") == {}


def test_a_clause_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_clause("rnn.h_n.order").text = "else"  # type: ignore[misc]


def test_the_contract_is_read_once_and_cannot_be_changed() -> None:
    assert load_clauses() is load_clauses()
    with pytest.raises(TypeError):
        load_clauses()["rnn.h_n.order"] = find_clause("rnn.h_n.order")  # type: ignore[index]


def test_a_clause_is_found_by_its_id() -> None:
    assert find_clause("rnn.h_n.order").level is Level.MUST


def test_an_unknown_id_raises_an_error_that_suggests_the_nearest() -> None:
    with pytest.raises(UnknownClause) as caught:
        find_clause("rnn.hn.order")
    assert str(caught.value).startswith(
        "no clause has the id 'rnn.hn.order'. Did you mean 'rnn.h_n.order'"
    )
    assert isinstance(caught.value, KeyError)


def test_an_id_unlike_any_other_gets_no_suggestion() -> None:
    with pytest.raises(UnknownClause) as caught:
        find_clause("???")
    assert str(caught.value) == "no clause has the id '???'."


@pytest.mark.parametrize(
    ("since", "until", "version", "applies"),
    [
        ("1.8", None, "2.13.0+cpu", True),
        ("2.3", None, "2.13.0+cpu", True),
        ("2.13", None, "2.13.0+cpu", True),
        ("2.13", None, "2.13.0a0+git1234", True),
        ("2.13", None, "2.9.1", False),
        ("2.9", None, "2.13.0", True),
        ("1.8", "1.8", "1.8.1", True),
        ("1.8", "1.8", "1.13.1", False),
        ("1.8", "2.7", "2.7.1", True),
        ("2.8", None, "2.8.0.dev20250601+cu126", True),
    ],
)
def test_a_clause_applies_from_since_to_until(
    since: str, until: str | None, version: str, applies: bool
) -> None:
    known = dataclasses.replace(find_clause("rnn.h_n.order"), since=since, until=until)
    assert is_in_force(known, version) is applies


@pytest.mark.parametrize("version", ["", "main", "2"])
def test_an_invalid_version_is_rejected(version: str) -> None:
    with pytest.raises(
        ValueError,
        match=re.escape(f"a version must start with two numbers, such as 2.13, got {version!r}"),
    ):
        is_in_force(find_clause("rnn.h_n.order"), version)


def test_levels_and_provenances_print_as_their_values() -> None:
    assert f"{Level.MUST} {Provenance.TESTED}" == "MUST tested"


def published() -> list[str]:
    return PUBLISHED.read_text(encoding="utf-8").split()


def test_no_published_id_is_removed() -> None:
    assert not set(published()) - load_clauses().keys(), (
        "a published id is missing, but others may refer to it"
    )


def test_new_ids_are_published() -> None:
    assert not load_clauses().keys() - set(published()), (
        f"append these to {PUBLISHED.name}, which freezes them"
    )
    assert len(published()) == len(set(published()))


def test_ids_start_with_the_subject_of_their_file() -> None:
    first = {
        name: {key.split(".")[0] for key in parse_clauses(text_of(name), name)} for name in FILES
    }
    assert first == {
        "nn_rnn.toml": {"rnn"},
        "nn_gru.toml": {"gru"},
        "nn_lstm.toml": {"lstm"},
        "nn_cells.toml": {"rnn-cell", "gru-cell", "lstm-cell"},
        "packing.toml": {"packing"},
        "use.toml": {"use"},
        "models.toml": {"model", "readout"},
    }


def text_of(name: str) -> str:
    return (ROOT / "rnnspec" / "contract" / name).read_text(encoding="utf-8")


def list_failing(is_sound: Callable[[Clause], bool]) -> list[str]:
    """Return the ids of the clauses that fail the predicate."""
    return [known.id for known in load_clauses().values() if not is_sound(known)]


def test_a_clause_is_one_readable_sentence() -> None:
    assert not list_failing(
        lambda known: (
            known.text.endswith(".")
            and len(known.text) <= 200
            and not re.search(r"\.\s", known.text)
        )
    )


def test_documented_clauses_name_a_passage_or_an_old_page() -> None:
    by_page = (Provenance.DOCUMENTED, Provenance.ADVICE)
    # A clause about models or use follows from several pages, and some have no docstring.
    several = {
        id for name in ("models.toml", "use.toml") for id in parse_clauses(text_of(name), name)
    }
    # Nor have the notes of the documentation.
    notes = [each.id for each in load_clauses().values() if each.source.startswith("Notes: ")]
    assert not [
        (known.id, kind)
        for known in load_clauses().values()
        for kind, place in known.places.items()
        if (
            (place.passage or place.until) is None
            if place.provenance in by_page
            and known.id not in (*several, *notes)
            and not place.source.startswith("Notes: ")
            else place.passage is not None
        )
    ]


PASSAGES = [
    (*place.passage.split("#"), kind, known.id)
    for known in load_clauses().values()
    for kind, place in known.places.items()
    if place.passage
]


def test_every_named_passage_has_a_fingerprint() -> None:
    assert not [each for each in PASSAGES if each[1] not in load_fingerprints(each[0])]


@same_release
@pytest.mark.parametrize("page", PAGES)
def test_every_named_passage_is_on_the_installed_page(page: str) -> None:
    installed = split_passages(read_installed_pages(page))
    assert not [each for each in PASSAGES if each[0] == page and each[1] not in installed]


def test_a_passage_of_the_page_of_a_kind_is_a_place_of_that_kind() -> None:
    of_kinds = {kind.page: kind.name for kind in KINDS.values()}
    assert not [each for each in PASSAGES if of_kinds.get(each[0], each[2]) != each[2]]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.title)
def test_every_passage_of_the_page_has_a_clause(kind: Kind) -> None:
    used = {name for where, name, *_ in PASSAGES if where == kind.page}
    assert not [name for name in load_fingerprints(kind.page) if name not in used]


def test_every_clause_has_a_kind_and_its_own_is_among_them() -> None:
    assert not list_failing(
        lambda known: bool(known.kinds) and set(known.own_kinds) <= set(known.kinds)
    )


def test_the_place_of_another_kind_names_no_other_class() -> None:
    """The words `nn.RNN` may only say on which layer a test was run."""
    wrong = [
        (known.id, kind, place.source)
        for known in load_clauses().values()
        for kind, place in known.places.items()
        if kind not in known.own_kinds and known.id.split(".")[0] in KINDS
        for title in re.findall(r"\bnn\.(RNN|GRU|LSTM)\b", place.source)
        if title.lower() != kind
        and "(on nn." not in place.source
        and "nn.LSTM page" not in place.source
    ]
    assert not wrong


def test_the_reason_for_an_exclusion_is_not_an_excuse() -> None:
    excuse = re.compile(r"\b(not yet|later|todo|too hard)\b", re.IGNORECASE)
    assert not list_failing(
        lambda known: (
            known.excluded is None
            or (len(known.excluded) > 60 and not excuse.search(known.excluded))
        )
    )


def test_few_binding_clauses_are_excluded() -> None:
    use = [id for id in load_clauses() if id.startswith("use.")]
    excluded = list_failing(lambda known: known.excluded is None or known.level is Level.NOTE)
    assert len(set(excluded) - set(use)) <= (len(load_clauses()) - len(use)) // 20
    # Half of what every module promises, a layer could break only by replacing a method of it.
    assert len(set(excluded) & set(use)) <= len(use) // 2


RUN = 8


def word_runs(text: str) -> Iterator[tuple[str, ...]]:
    """Yield every run of eight words of a text."""
    words = re.findall(r"[\w']+", text.lower())
    return (tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1))


@pytest.fixture(scope="module")
def torch_runs() -> set[tuple[str, ...]]:
    """Return every run of eight words of torch's own pages.

    torch.func is left out, because the oldest supported release does not have it.
    """
    pages = [page for page in PAGES if not page.startswith("torch.func")]
    return {run for page in pages for run in word_runs(read_installed_pages(page))}


def test_clauses_are_in_our_own_words(torch_runs: set[tuple[str, ...]]) -> None:
    assert not list_failing(
        lambda known: torch_runs.isdisjoint(
            [*word_runs(known.text), *word_runs(known.excluded or "")]
        )
    )


OWN = [*(ROOT / "rnnspec" / "contract").glob("*.py"), *(ROOT / "docs").glob("contract*.md")]


@pytest.mark.parametrize("path", OWN, ids=[path.name for path in OWN])
def test_code_and_documents_are_in_our_own_words(
    path: Path, torch_runs: set[tuple[str, ...]]
) -> None:
    assert not torch_runs & set(word_runs(path.read_text(encoding="utf-8")))


def test_a_copied_sentence_is_found(torch_runs: set[tuple[str, ...]]) -> None:
    assert torch_runs & set(word_runs(" ".join(read_installed_pages("nn.RNN").split()[-60:-30])))
