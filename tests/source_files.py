"""Checks of single source files, run on all files of a package as one test."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rnnspec"
Check = Callable[[Path], None]


@cache
def parse_module(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def list_nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file's syntax tree.

    A dozen checks read them, and to walk a tree takes ten times as long as to read its nodes.
    """
    return tuple(ast.walk(parse_module(path)))


def find_stage(path: Path) -> str:
    """Return the stage of a file: the first name below `rnnspec`, a package or a module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def check_each_module(paths: Iterable[Path]) -> Callable[[Check], Callable[[str], None]]:
    """Return a decorator that makes a check of one file a test of each stage.

    The test fails with the name of every file that fails, and why.
    """
    by_stage: dict[str, list[Path]] = {}
    for path in paths:
        by_stage.setdefault(find_stage(path), []).append(path)

    def make_test(check: Check) -> Callable[[str], None]:
        @pytest.mark.parametrize("stage", sorted(by_stage))
        def check_stage(stage: str) -> None:
            wrong = list(filter(None, (_describe_failure(check, path) for path in by_stage[stage])))
            assert not wrong, "\n".join(wrong)

        check_stage.__doc__ = check.__doc__
        return check_stage

    return make_test


def _describe_failure(check: Check, path: Path) -> str:
    try:
        check(path)
    except AssertionError as failure:
        return f"{path.relative_to(PACKAGE).as_posix()}: {failure}"
    return ""
