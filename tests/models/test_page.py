"""The page on read-outs shows what a run prints, and lists the rules that there are."""

from __future__ import annotations

import re
from pathlib import Path

from rnnspec.models import DeepBiRNN, format_readout_map, measure_readout
from rnnspec.models.catalogue import list_model_rules

PAGE = (Path(__file__).parents[2] / "docs" / "is-my-model-reading-its-rnn-right.md").read_text(
    encoding="utf-8"
)


def test_the_map_on_the_page_is_what_a_run_prints() -> None:
    assert (
        f"```text\n{format_readout_map(measure_readout(DeepBiRNN(100, 50, 20, 1, num_layers=1)))}```"
        in PAGE
    )


def test_the_page_lists_every_rule_with_its_level() -> None:
    assert re.findall(r"^\| `(\S+)` \| (\w+) \|", PAGE, re.MULTILINE) == [
        (rule.id, str(rule.level)) for rule in list_model_rules()
    ]
