"""Find the docstring passages whose wording has changed since the clauses were written."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from rnnspec.contract.clauses import Clause, load_clauses, parse_release
from rnnspec.contract.kinds import CELLS
from rnnspec.contract.passages import split_passages
from rnnspec.errors import suggest_similar

# Every page that has a clause: the name that clauses use, then the module and attribute.
PAGES = {
    "nn.RNN": ("torch.nn", "RNN"),
    "nn.RNN.flatten_parameters": ("torch.nn", "RNN.flatten_parameters"),
    "nn.GRU": ("torch.nn", "GRU"),
    "nn.LSTM": ("torch.nn", "LSTM"),
    "nn.RNNCell": ("torch.nn", "RNNCell"),
    "nn.GRUCell": ("torch.nn", "GRUCell"),
    "nn.LSTMCell": ("torch.nn", "LSTMCell"),
    "nn.Module.load_state_dict": ("torch.nn", "Module.load_state_dict"),
    "nn.Module.double": ("torch.nn", "Module.double"),
    "nn.Module.cuda": ("torch.nn", "Module.cuda"),
    "torch.func.functional_call": ("torch.func", "functional_call"),
    "torch.no_grad": ("torch", "no_grad"),
    "torch.use_deterministic_algorithms": ("torch", "use_deterministic_algorithms"),
    "PackedSequence": ("torch.nn.utils.rnn", "PackedSequence"),
    "pack_padded_sequence": ("torch.nn.utils.rnn", "pack_padded_sequence"),
    "pad_packed_sequence": ("torch.nn.utils.rnn", "pad_packed_sequence"),
    "pack_sequence": ("torch.nn.utils.rnn", "pack_sequence"),
}

SIGNATURES = tuple(kind.page for kind in CELLS)
"""The pages that show the signature of a constructor although the docstring lacks it."""


def compute_fingerprint(text: str) -> str:
    """Return 16 hexadecimal digits that change whenever the words of a normalised text change."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def compute_fingerprints(docstring: str) -> dict[str, str]:
    """Return the fingerprint of every passage of a docstring, by name."""
    return {name: compute_fingerprint(text) for name, text in split_passages(docstring).items()}


def load_fingerprints(page: str = "nn.RNN", release: str | None = None) -> Mapping[str, str]:
    """Return the fingerprints of a page by passage.

    They are taken from `release`, or without it from the release that the clauses follow. Raises
    KeyError, with a suggestion, if no clause comes from a page of this name, or if the release was
    not examined.
    """
    if page not in PAGES:
        raise KeyError(f"no clause comes from a page named {page!r}.{suggest_similar(page, PAGES)}")
    if release is not None and release not in list_examined_releases():
        raise KeyError(f"torch {release} was not examined.")
    data = _load_data()
    known: dict[str, str | None] = dict(data["pages"][page])
    known |= data["releases"].get(release, {}).get(page, {})
    return MappingProxyType({name: each for name, each in known.items() if each is not None})


def find_stored_release() -> str:
    """Return the torch release whose docstrings the clauses follow, such as "2.13"."""
    return str(_load_data()["torch"])


def list_examined_releases() -> list[str]:
    """Return the releases whose pages have been compared with the clauses, the oldest first."""
    return sorted({find_stored_release(), *_load_data()["releases"]}, key=parse_release)


def find_examined_release(version: str) -> str:
    """Return the last examined release that is not newer than a version, or the first of all."""
    examined = list_examined_releases()
    earlier = [each for each in examined if parse_release(each) <= parse_release(version)]
    return earlier[-1] if earlier else examined[0]


def compare_fingerprints(
    docstring: str, page: str = "nn.RNN", release: str | None = None
) -> dict[str, str]:
    """Return every passage that differs from the stored passage, by name.

    The values are "changed", "missing" (from the docstring) and "new" (in the docstring). You can
    pass a `release` to compare with; unless you pass it, it is the release that the clauses follow.
    """
    old, new = load_fingerprints(page, release), compute_fingerprints(docstring)
    changed = {
        name: "changed" if name in new else "missing" for name in old if new.get(name) != old[name]
    }
    return changed | {name: "new" for name in new if name not in old}


def list_changed_clauses(
    docstring: str, page: str = "nn.RNN", release: str | None = None
) -> list[Clause]:
    """Return the clauses whose passage is changed in this docstring or missing from it.

    Read these clauses again, and compare them with the new wording before you release.
    """
    changed = {f"{page}#{name}" for name in compare_fingerprints(docstring, page, release)}
    if not changed:
        return []
    return [
        clause
        for clause in load_clauses().values()
        if any(place.passage in changed for place in clause.places.values())
    ]


@lru_cache
def list_pages(kind: str) -> tuple[str, ...]:
    """Return the pages from which the clauses about a kind of layer come."""
    places = [clause.places.get(kind) for clause in load_clauses().values()]
    pages = {(place.passage or "").partition("#")[0] for place in places if place is not None}
    return tuple(page for page in PAGES if page in pages)


def read_installed_pages(page: str) -> str:
    """Return the docstring of a page in the installed torch, or an empty string if it has none.

    If the docstring of a class has no signature, the constructor is put before it, as on the page.
    """
    module, path = PAGES[page]
    documented: Any = importlib.import_module(module)
    for name in path.split("."):
        documented = getattr(documented, name, None)
    if documented is None:
        return ""
    text = inspect.cleandoc(documented.__doc__ or "")
    if page in SIGNATURES:
        return f"{_write_signature(documented)}\n\n{text}"
    return text


def _write_signature(documented: type) -> str:
    """Return the constructor of a class with its arguments and defaults, without annotations."""
    parameters = list(inspect.signature(documented).parameters.values())
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    return f"__init__({', '.join(map(str, plain))})"


@lru_cache(maxsize=1)
def _load_data() -> Mapping[str, Any]:
    text = (resources.files("rnnspec.contract") / "fingerprints.json").read_text(encoding="utf-8")
    return MappingProxyType(json.loads(text))
