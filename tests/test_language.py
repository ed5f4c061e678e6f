"""The English of docstrings and comments does not become harder to read."""

from __future__ import annotations

from pathlib import Path

import pytest

import rnnspec
from benchmarks.language import COUNTED, Prose, list_comments, read_prose

PACKAGE = Path(rnnspec.__file__).parent
MOST = {
    "what": 2.2,
    "one": 28.3,
    "says, said": 0.5,
    "those": 2.3,
    "in which": 1.4,
    "judge": 0.0,
    "tell": 0.0,
}
"""The most uses of a word in 10,000 words. A limit may fall, and never rise."""
LEAST = {"use": 39.0, "you": 24.0}
"""The fewest uses of a word in 10,000 words. A limit may rise, and never fall.

Half of the anchors' figures is required: together, the four have 67 of "use" and 43 of "you" in
10,000 words. Hypothesis alone, with four fifths of these words, has 55 and 43.
"""
LEAST_COMMENTS = {"diagnosis": 26.0, "oracle": 15.0, "inference": 16.0}
"""The fewest comments in 1,000 lines of a folder. A limit may rise, and never fall."""


@pytest.fixture(scope="module")
def prose() -> Prose:
    return read_prose(PACKAGE)


@pytest.mark.parametrize("row", MOST)
def test_a_word_that_is_hard_to_read_is_used_no_more_than_before(row: str, prose: Prose) -> None:
    assert prose.count(row) <= MOST[row]


@pytest.mark.parametrize("row", LEAST)
def test_readers_are_addressed_as_often_as_before(row: str, prose: Prose) -> None:
    assert prose.count(row) >= LEAST[row]


@pytest.mark.parametrize("folder", LEAST_COMMENTS)
def test_reasons_are_not_lost(folder: str) -> None:
    assert read_prose(PACKAGE / folder).comment_density >= LEAST_COMMENTS[folder]


def test_words_and_sentences_are_counted() -> None:
    prose = Prose(("What one does. What those do.", "somewhat, ones"), 1, 4)
    assert prose.words == 8
    assert prose.count("one") == pytest.approx(2500.0)
    assert prose.count("what") == pytest.approx(2500.0)
    assert prose.count_openings() == pytest.approx(2500.0)
    assert prose.comment_density == 250.0
    assert set(MOST) < set(COUNTED)


def test_lines_of_a_comment_are_one_comment() -> None:
    assert list_comments("# One\n# comment\nx = 1  # another\n") == ["One comment", "another"]
