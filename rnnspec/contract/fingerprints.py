"""Which passages of a docstring have changed wording since the clauses were written, told by stored fingerprints."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from rnnspec.contract.clauses import Clause, load_clauses
from rnnspec.contract.passages import split_passages
from rnnspec.errors import suggest

# Every page that a clause comes from: its name in the clauses, and where its docstring is.
PAGES = {
    "nn.RNN": ("torch.nn", "RNN"),
    "nn.RNN.flatten_parameters": ("torch.nn", "RNN.flatten_parameters"),
    "nn.LSTM": ("torch.nn", "LSTM"),
    "nn.Module.load_state_dict": ("torch.nn", "Module.load_state_dict"),
    "torch.func.functional_call": ("torch.func", "functional_call"),
    "torch.no_grad": ("torch", "no_grad"),
    "PackedSequence": ("torch.nn.utils.rnn", "PackedSequence"),
    "pack_padded_sequence": ("torch.nn.utils.rnn", "pack_padded_sequence"),
    "pad_packed_sequence": ("torch.nn.utils.rnn", "pad_packed_sequence"),
    "pack_sequence": ("torch.nn.utils.rnn", "pack_sequence"),
}


def compute_fingerprint(text: str) -> str:
    """16 hexadecimal digits that change with the words of a normalised text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def compute_fingerprints(docstring: str) -> dict[str, str]:
    """The fingerprint of every passage of a docstring, by name."""
    return {name: compute_fingerprint(text) for name, text in split_passages(docstring).items()}


def load_fingerprints(page: str = "nn.RNN") -> Mapping[str, str]:
    """The fingerprints of a page in the release that the clauses were written from, by passage.

    Raises KeyError with a suggestion where no clause comes from such a page.
    """
    if page not in PAGES:
        raise KeyError(f"no clause comes from a page {page!r}.{suggest(page, PAGES)}")
    known: Mapping[str, str] = _data()["pages"][page]
    return MappingProxyType(known)


def find_stored_release() -> str:
    """The torch release whose docstrings the clauses were written from, such as "2.13"."""
    return str(_data()["torch"])


def compare_fingerprints(docstring: str, page: str = "nn.RNN") -> dict[str, str]:
    """Every passage that is not as stored, by name: "changed", "missing" from the docstring, or "new" in it."""
    old, new = load_fingerprints(page), compute_fingerprints(docstring)
    changed = {
        name: "changed" if name in new else "missing" for name in old if new.get(name) != old[name]
    }
    return changed | {name: "new" for name in new if name not in old}


def list_changed_passages(docstring: str, page: str = "nn.RNN") -> list[str]:
    """The names of the passages that are changed, missing or new against the stored ones, those in this order of the page."""
    return list(compare_fingerprints(docstring, page))


def list_changed_clauses(docstring: str, page: str = "nn.RNN") -> list[Clause]:
    """The clauses whose passage is changed or missing in this docstring: their wording has moved under the suite."""
    moved = {f"{page}#{name}" for name in list_changed_passages(docstring, page)}
    return [clause for clause in load_clauses().values() if clause.passage in moved]


def build_document(docstrings: Mapping[str, str], release: str) -> str:
    """The data file for these docstrings, by page."""
    return (
        json.dumps(
            {
                "torch": release,
                "pages": {page: compute_fingerprints(text) for page, text in docstrings.items()},
            },
            indent=1,
        )
        + "\n"
    )


def main(write: Callable[[str], Any] = sys.stdout.write) -> None:
    """Print fresh fingerprints of the installed torch, as fingerprints.json holds them."""
    release = ".".join(importlib.import_module("torch").__version__.split(".")[:2])
    write(build_document({page: read_installed_pages(page) for page in PAGES}, release))


def read_installed_pages(page: str) -> str:
    """The docstring of a page in the installed torch."""
    module, path = PAGES[page]
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found.__doc__ or ""


@lru_cache(maxsize=1)
def _data() -> Mapping[str, Any]:
    text = (resources.files("rnnspec.contract") / "fingerprints.json").read_text(encoding="utf-8")
    return MappingProxyType(json.loads(text))


if __name__ == "__main__":
    main()
