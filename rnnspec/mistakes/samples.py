"""Mistakes with the order of samples, and with the ends of packed sequences."""

from __future__ import annotations

from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.situations import is_sorted_by_layer
from rnnspec.reference.values import TensorChange, change_values


def _list_moved() -> list[Hypothesis]:
    moves: tuple[tuple[str, str, str, TensorChange], ...] = (
        ("reversed", "in the opposite order", "{}.flip(batch axis)", lambda data: data.flip(1)),
        ("shifted", "shifted by one", "{}.roll(-1, batch axis)", lambda data: data.roll(1, 1)),
        (
            "shifted-back",
            "shifted back by one",
            "{}.roll(1, batch axis)",
            lambda data: data.roll(-1, 1),
        ),
        (
            "all-first",
            "all equal to the first",
            "{} with every sample of its own",
            lambda data: data[:, :1].expand_as(data),
        ),
    )
    return [
        Hypothesis(
            f"{name}.samples-{key}",
            f"the samples of the {name} are {text}",
            remedy.format(name),
            ("recurrence.output", "samples.independent"),
            change_values({name: change}),
            lambda case: case.batch > 1,
            unclear=is_sorted_by_layer,
            about=about,
        )
        for key, text, remedy, change in moves
        for name, about in (("input", About.ONE_STEP), ("output", About.OUTPUT))
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_moved(),)
