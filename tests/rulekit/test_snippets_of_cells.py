"""The last lines of programs about layers are rewritten for cells, which return no pair."""

from __future__ import annotations

import pytest

from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.gradients import DETACHED_STATE, SECOND_BACKWARD
from rnnspec.rulekit.snippets.of_cells import write_for_cell
from rnnspec.rulekit.snippets.results import BOTH

WRITTEN = [
    (BOTH.code, "close(layer(*given), reference(*given))"),
    ("close(layer(*given)[1], reference(*given)[1])", "close(layer(*given), reference(*given))"),
    (
        "sum(spread(data(result)) for result in each(*given)).backward()",
        "sum(spread(result) for result in list_tensors(each(*given))).backward()",
    ),
    (
        "found = layer(x, h_0)\ntotal = sum(spread(result) for result in found)",
        "found = layer(x, h_0)\ntotal = sum(spread(result) for result in list_tensors(found))",
    ),
    ("states = list_tensors(layer(*given)[1:])", "states = list_tensors(layer(*given))"),
    (
        "for one, other in zip(layer(*given), reference(*given)):\n    close(one, other)",
        "for one, other in zip(list_tensors(layer(*given)), list_tensors(reference(*given))):\n"
        "    close(one, other)",
    ),
    ("close(layer(x), given[1])", "close(layer(x), given[1])"),
    ("assert layer(*given)[1].dtype == x.dtype", "assert layer(*given)[1].dtype == x.dtype"),
]


@pytest.mark.parametrize(("code", "expected"), WRITTEN)
def test_lines_about_a_layer_become_lines_about_a_cell(code: str, expected: str) -> None:
    assert write_for_cell(Snippet(code)).code == expected


@pytest.mark.parametrize("snippet", [DETACHED_STATE, SECOND_BACKWARD])
def test_the_helpers_are_those_that_the_lines_use(snippet: Snippet) -> None:
    written = write_for_cell(snippet)
    assert Helper.DATA not in written.uses
    assert Helper.LIST_TENSORS in written.uses
    assert "data(" not in written.code


OF_ONE_STATE = [
    (
        "output, h_n = layer(*given)\nkept = [data(output), *list_tensors(h_n)]",
        "output = h_n = layer(*given)\nkept = [output, *list_tensors(h_n)]",
    ),
    (
        "found = layer(*given)\nclose(layer(x)[0], found[0])\nclose(layer(x)[1], found[1])",
        "found = layer(*given)\nclose(layer(x), found)",
    ),
    (
        "close(output, layer(*given)[0].narrow(0, 1, 1))",
        "close(output, layer(*given).narrow(0, 1, 1))",
    ),
    ("close(layer(x), given[1])", "close(layer(x), given[1])"),
]


@pytest.mark.parametrize(("code", "expected"), OF_ONE_STATE)
def test_the_state_of_a_cell_is_both_results(code: str, expected: str) -> None:
    assert write_for_cell(Snippet(code), has_one_state=True).code == expected
