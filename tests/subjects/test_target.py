"""Targets: a string, a class or a factory is resolved; a mistake is explained in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rnnspec.errors import TargetError
from rnnspec.subjects.target import Target, resolve_target

LAYERS = """
import torch

class FastRNN(torch.nn.RNN):
    class Inner(torch.nn.RNN):
        pass

def make(*args, **kwargs):
    return torch.nn.RNN(*args, **kwargs)

number = 3

def __getattr__(name):
    if name == "lazy":
        raise ImportError("no lazy part")
    raise AttributeError(name)
"""


GREEDY = """
import sys

sys.path.insert(0, "/nowhere")
import quux
from torch.nn import RNN
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with targets, right and wrong; modules imported from it are removed."""
    files = {
        "layers_.py": LAYERS,
        "my-layers.py": LAYERS,
        "json.py": LAYERS,
        "broken_.py": "def f(:\n",
        "raising_.py": "raise RuntimeError('boom\\nand more')\n",
        "leaving_.py": "import sys\nsys.exit(0)\n",
        "needing_.py": "import not_there_at_all\n",
        "greedy_.py": GREEDY,
        "quux.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "package_").mkdir()
    (tmp_path / "package_" / "__init__.py").write_text("")
    (tmp_path / "package_" / "fast.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield tmp_path
    for name in [name for name, module in sys.modules.items() if before.get(name) is not module]:
        del sys.modules[name]
    sys.modules.update(before)


FORM = "a target is written 'package.module:attribute' or 'path/to/file.py:attribute', got "
HAS = "has FastRNN, make."
WRONG = {
    "layers_": f"layers_: name a class or function, such as 'layers_:FastRNN'. layers_.py {HAS}",
    "package_.fast": (
        "package_.fast: name a class or function, such as 'package_.fast:FastRNN'. "
        f"package_/fast.py {HAS}"
    ),
    "package_": f"{FORM}'package_'.",
    "quux.py": f"{FORM}'quux.py'.",
    "broken_.py": f"{FORM}'broken_.py'.",
    "layer_.py": (
        "a target is written 'package.module:attribute' or 'path/to/file.py:attribute', and there "
        "is no file 'layer_.py'. Did you mean 'layers_.py'?"
    ),
    "torch.nn.RNN": f"{FORM}'torch.nn.RNN'. Did you mean 'torch.nn:RNN'?",
    "layers_.py": (
        f"layers_.py: name a class or function, such as 'layers_.py:FastRNN'. layers_.py {HAS}"
    ),
    "layers_:": f"layers_: name a class or function, such as 'layers_:FastRNN'. layers_.py {HAS}",
    ":FastRNN": f"{FORM}':FastRNN'.",
    "": f"{FORM}''.",
    "layer_:FastRNN": "layer_:FastRNN: no module named 'layer_'. Did you mean 'layers_'?",
    "package_.fsat:FastRNN": (
        "package_.fsat:FastRNN: no module named 'package_.fsat'. Did you mean 'fast'?"
    ),
    "nomodule:FastRNN": "nomodule:FastRNN: no module named 'nomodule'.",
    "qqqqzzzz:FastRNN": "qqqqzzzz:FastRNN: no module named 'qqqqzzzz'.",
    "layers_:FastRnn": "no attribute 'FastRnn' in layers_. Did you mean 'FastRNN'?",
    "layers_:fastrnn": "no attribute 'fastrnn' in layers_. Did you mean 'FastRNN'?",
    "layers_:FastRNN.Iner": "no attribute 'FastRNN.Iner' in layers_. Did you mean 'Inner'?",
    "layers_:zzz": "no attribute 'zzz' in layers_.",
    "layers_:lazy": "layers_:lazy: looking up 'lazy' raised ImportError: no lazy part",
    "layers_:number": "layers_:number: 'number' is 3, expected a class or a factory",
    "raising_:A": "raising_:A: importing raising_ raised RuntimeError: boom and more",
    "leaving_:A": "leaving_:A: importing leaving_ raised SystemExit: 0",
    "needing_:A": (
        "needing_:A: importing needing_ raised "
        "ModuleNotFoundError: No module named 'not_there_at_all'"
    ),
    "broken_:A": (
        "broken_:A: importing broken_ raised SyntaxError: invalid syntax (broken_.py, line 1)"
    ),
    "broken_.py:A": (
        "broken_.py:A: importing 'broken_.py' raised "
        "SyntaxError: invalid syntax (broken_.py, line 1)"
    ),
    "raising_.py:A": "raising_.py:A: importing 'raising_.py' raised RuntimeError: boom and more",
    "leaving_.py:A": "leaving_.py:A: importing 'leaving_.py' raised SystemExit: 0",
    "layerz_.py:FastRNN": "layerz_.py:FastRNN: no file 'layerz_.py'. Did you mean 'layers_.py'?",
    "package_/fats.py:A": (
        "package_/fats.py:A: no file 'package_/fats.py'. Did you mean 'package_/fast.py'?"
    ),
    "nowhere/layers_.py:A": "nowhere/layers_.py:A: no file 'nowhere/layers_.py'.",
    "layers_.py:FastRnn": "no attribute 'FastRnn' in layers_.py. Did you mean 'FastRNN'?",
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_target_is_explained_in_one_line(text: str) -> None:
    path = list(sys.path)
    with pytest.raises(TargetError) as raised:
        resolve_target(text)
    assert str(raised.value) == WRONG[text]
    assert sys.path == path


@pytest.mark.parametrize("target", [None, 3, ["torch.nn:RNN"]])
def test_an_object_that_cannot_be_called_is_not_a_target(target: Any) -> None:
    with pytest.raises(
        TargetError,
        match=r"a target is a class, a factory or a string like 'package\.module:attribute', got ",
    ) as raised:
        resolve_target(target)
    assert repr(target) in str(raised.value)


GOOD = {
    "torch.nn:RNN": ("RNN", ("from torch.nn import RNN",)),
    "layers_:FastRNN": ("FastRNN", ("from layers_ import FastRNN",)),
    "layers_:FastRNN.Inner": ("FastRNN.Inner", ("from layers_ import FastRNN",)),
    "layers_:make": ("make", ("from layers_ import make",)),
    "package_.fast:FastRNN": ("FastRNN", ("from package_.fast import FastRNN",)),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("text", GOOD)
def test_a_name_gives_a_factory_and_the_line_that_imports_it(text: str) -> None:
    target = resolve_target(text)
    assert isinstance(target.factory(2, 3), torch.nn.RNN)
    assert (target.label, (target.name, target.imports)) == (text, GOOD[text])


@pytest.mark.parametrize("file", ["layers_.py", "my-layers.py", "json.py", "package_/fast.py"])
def test_the_lines_for_a_file_import_it_in_another_program(folder: Path, file: str) -> None:
    (folder / file).write_text("class FastRNN:\n    pass\n")
    target = resolve_target(f"{file}:FastRNN")
    source = "\n".join([*target.imports, f"print({target.name}.__name__)"])
    assert str(folder) not in source
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "FastRNN\n"


def test_a_file_elsewhere_is_imported_by_its_whole_path(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "layers_elsewhere.py").write_text("class FastRNN:\n    pass\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    target = resolve_target(f"{folder / 'layers_elsewhere.py'}:FastRNN")
    assert target.imports[1] == f"sys.path.insert(0, {str(folder.resolve())!r})"
    assert target.import_others(["Cell"]) == ("from layers_elsewhere import Cell",)


def test_a_file_does_not_replace_a_module_of_python(folder: Path) -> None:
    import json

    assert resolve_target("json.py:FastRNN").factory is not None
    assert sys.modules["json"] is json


def test_a_file_does_not_replace_another_module_of_the_same_name(folder: Path) -> None:
    first = resolve_target("layers_.py:FastRNN").factory
    (folder / "other").mkdir()
    (folder / "other" / "layers_.py").write_text(LAYERS)
    second = resolve_target("other/layers_.py:FastRNN").factory
    assert first is not second
    assert sys.modules["layers_"].FastRNN is first
    assert resolve_target("layers_.py:FastRNN").factory.__module__ == "layers_"


def test_only_the_changes_that_a_file_makes_to_the_path_remain(folder: Path) -> None:
    before = list(sys.path)
    resolve_target("greedy_.py:RNN")
    assert sys.path == ["/nowhere", *before]


def make_local_class() -> type[torch.nn.Module]:
    class Local(torch.nn.RNN):
        pass

    return Local


class Factory:
    @classmethod
    def build(cls, *given: Any, **named: Any) -> torch.nn.Module:
        return torch.nn.RNN(*given, **named)


class Original(torch.nn.RNN):
    pass


Renamed = Original
del Original

OBJECTS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "class": (torch.nn.RNN, "torch.nn.modules.rnn:RNN", "RNN"),
    "local class": (make_local_class(), "make_local_class.<locals>.Local", "Local"),
    "class made in a call": (type("Made", (torch.nn.RNN,), {}), "Made", "Made"),
    "class under another name": (Renamed, "Original", "Original"),
    "method": (Factory.build, f"{__name__}:Factory.build", "Factory.build"),
    "lambda": (lambda *given, **named: torch.nn.RNN(*given, **named), "<lambda>", "Subject"),
    "partial": (
        partial(torch.nn.RNN, bias=True),
        "functools.partial(<class 'torch.nn.modules.rnn.RNN'>, bias=True)",
        "Subject",
    ),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_has_a_label_and_a_name_for_programs(name: str) -> None:
    factory, label, short = OBJECTS[name]
    target = resolve_target(factory)
    assert (target.factory, target.label, target.name) == (factory, label, short)
    compile("\n".join(target.imports), "imports", "exec")


def test_a_label_is_one_line() -> None:
    class Talkative:
        def __call__(self, *given: Any) -> torch.nn.Module:
            return torch.nn.RNN(*given)

        def __repr__(self) -> str:
            return "first\n  second"

    target: Target = resolve_target(Talkative())
    assert "\n" not in target.label + "".join(target.imports)
