"""Test the examples of promises that PyTorch does not keep, and the page that shows them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rnnspec.contract.clauses import find_clause, parse_release
from tests.test_docs_build import load_module

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "what-pytorch-does-not-keep.md").read_text(encoding="utf-8")
SHOWN_SINCE = {"printed_program_differs_from_the_layer": "2.3"}
SHOWN_UNTIL = {
    "nonlinearity_by_position_is_a_bias": "2.2",
    "printed_program_differs_from_the_layer": "2.7",
    "lstm_accepts_a_wrong_number_of_features": "2.2",
}
"""The first and the last release that show an example, if it is not every one."""
PROCESSOR = ("nan_reaches_the_row_before", "nan_reaches_another_sample")
"""The examples that need a processor with bfloat16 instructions."""
UNEXAMINED = parse_release(torch.__version__) > (2, 15)
unkept = load_module("unkept", "conformance")


@pytest.mark.parametrize("example", unkept.EXAMPLES, ids=lambda each: each.__name__)
@pytest.mark.skipif(UNEXAMINED, reason="nobody has looked at what this release does")
def test_installed_release_behaves_as_the_page_describes(example: Callable[[], bool]) -> None:
    here, name = parse_release(torch.__version__), example.__name__
    if name in PROCESSOR:
        assert example() in (True, False)
        return
    since, until = SHOWN_SINCE.get(name, "2.2"), SHOWN_UNTIL.get(name, "2.15")
    assert example() is (parse_release(since) <= here <= parse_release(until))


def test_nan_stays_in_its_row_in_float32() -> None:
    x, w = torch.ones(17, 5), torch.ones(115, 5)
    x[3] = float("nan")
    rows = torch.nn.functional.linear(x, w).isnan().any(dim=1)
    assert rows.nonzero().flatten().tolist() == [3]


def test_every_example_is_on_the_page_and_has_a_description() -> None:
    for example in unkept.EXAMPLES:
        assert f'"{example.__name__}"' in PAGE
        assert inspect.getdoc(example)
    assert list(dict.fromkeys(unkept.EXAMPLES)) == list(unkept.EXAMPLES)


def test_clauses_that_the_page_names_exist() -> None:
    for name in (
        *("rnn.args.order.device", "gru.args.order.device", "gru.h_0.keyword"),
        *("rnn.recurrence.printed-loop", "rnn.errors.h_0-batch.packed"),
        "lstm.errors.packed-unchecked",
    ):
        assert f"`{name}`" in PAGE
        assert find_clause(name).id == name


def test_answers_are_printed_or_written_for_the_release(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    unkept.main()
    printed = capsys.readouterr().out
    unkept.main(str(tmp_path))
    (path,) = tmp_path.rglob("unkept.json")
    assert path.read_text(encoding="utf-8") == printed
    assert path.parent.name == "torch-" + ".".join(torch.__version__.split(".")[:2])
    data = json.loads(printed)
    assert list(data["shows"]) == [example.__name__ for example in unkept.EXAMPLES]


def test_recorded_answers_agree_with_the_page() -> None:
    matrix: ModuleType = load_module("matrix")
    found = list(matrix.RESULTS.glob("torch-*/unkept.json"))
    assert found
    for path in found:
        release = parse_release(path.parent.name.removeprefix("torch-"))
        for name, shown in json.loads(path.read_text(encoding="utf-8"))["shows"].items():
            since, until = SHOWN_SINCE.get(name, "2.2"), SHOWN_UNTIL.get(name, "2.15")
            expected = parse_release(since) <= release <= parse_release(until)
            assert shown is expected or name in PROCESSOR, (release, name)
