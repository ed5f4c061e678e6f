"""Rate what a parameter may be by its name."""

from __future__ import annotations

import re
from itertools import pairwise

from rnnspec.inference.candidates import Candidate

# A word can stand for several things, such as `u` for the update gate and for the recurrent
# weights, so a name ranks candidates and never excludes any.
INPUT_WORDS = ("ih", "i2h", "x2h", "xh", "wx", "in", "input", "kernel", "w", "x", "wi")
HIDDEN_WORDS = ("hh", "h2h", "wh", "rec", "recurrent", "hidden", "u", "r", "h", "state", "wr")
GATE_WORDS = {
    "reset": ("r", "reset", "ir", "hr", "xr", "wr", "ur"),
    "update": ("z", "u", "update", "iz", "hz", "xz", "wz", "uz"),
    "new": ("n", "new", "h", "g", "cand", "candidate", "in", "hn", "xn", "xh", "wn", "un"),
    "input": ("i", "input", "ii", "hi", "xi", "wi", "ui"),
    "forget": ("f", "forget", "if", "hf", "xf", "wf", "uf"),
    "cell": ("g", "c", "cell", "ig", "hg", "xg", "wg", "ug", "wc", "uc", "xc", "hc", "cand"),
    "output": ("o", "output", "out", "io", "ho", "xo", "wo", "uo"),
}
BACKWARD_WORDS = ("backward", "reverse", "bwd", "bw", "back", "rev", "right", "b2f", "r2l")
ORDINALS = ("first", "second", "third", "fourth")
NAME_OF_BIAS = re.compile(r"(^|[._])(b|bias)([._]|$)|^b[a-z]{0,2}$|bias")


def rate_by_name(name: str, candidate: Candidate) -> int:
    """Return how well the name of a parameter fits a candidate; higher is better."""
    words = _split(name)
    roles = {role.split("_")[1] for role, _ in candidate.covers}
    score = 0
    if roles == {"ih"}:
        score += 4 * _is_among(words, INPUT_WORDS) - 4 * _is_among(words, HIDDEN_WORDS)
    if roles == {"hh"}:
        score += 4 * _is_among(words, HIDDEN_WORDS) - 4 * _is_among(words, INPUT_WORDS)
    if len(candidate.gates) == 1:
        known = GATE_WORDS.get(candidate.gates[0], ())
        score += 3 * any(word in known for word in words)
    return score + _rate_row(name, words, candidate.row)


def _rate_row(name: str, words: list[str], row: str) -> int:
    """Return how well a name fits the layer and the direction whose parameters end in `row`."""
    score = 0
    if _is_among(words, BACKWARD_WORDS) or re.search(r"(reverse|backward)", name.lower()):
        score += 4 if row.endswith("reverse") else -4
    layer = re.search(r"_l(\d+)", row)
    if layer is None:
        return score
    numbers = [int(each) for each in re.findall(r"\d+", name)]
    places = [ORDINALS.index(word) for word in words if word in ORDINALS]
    return score + 4 * (int(layer[1]) in places) + 2 * (int(layer[1]) in numbers)


def _split(name: str) -> list[str]:
    """Return the words of a name: `cell.W_ih` and `cell.Wih` share the word `wih`."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    words = [
        word for word in re.split(r"[._\d]+", parts) if word and word not in ("weight", "bias")
    ]
    # Joined neighbours let `w_i_h` match the word `ih`.
    joined = ["".join(pair) for pair in pairwise(words)]
    return [*words, *joined]


def _is_among(words: list[str], known: tuple[str, ...]) -> bool:
    return any(word in known for word in words)
