"""Test the notes on output printed by a subject, and the handling of harmful text."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rnnspec.isolation.output import Output, describe_output
from rnnspec.text import make_data_printable, make_printable, read_message, read_type


@pytest.mark.parametrize(
    ("count", "head", "expected"),
    [
        (0, b"", ""),
        (1, b"\n", "the target printed 1 byte"),
        (6, b"hello\n", "the target printed 6 bytes: hello"),
        (10, b"a\n\nb\nc\nd\n", "the target printed 10 bytes; it begins: a / b / c"),
        (812_000_000, b"x" * 90, f"the target printed 812 MB; it begins: {'x' * 80}..."),
        (5, b"\x1b[31m", r"the target printed 5 bytes: \x1b[31m"),
        (3, b"\xff\xfe\n", r"the target printed 3 bytes: \xff\xfe"),
    ],
)
def test_output_is_cut_and_counted(count: int, head: bytes, expected: str) -> None:
    assert describe_output(count, head) == expected


@pytest.mark.skipif(os.name != "posix", reason="pipes are files on POSIX only")
def test_output_is_read_as_fast_as_it_comes() -> None:
    output = Output()
    lines = b"0123456789abcde\n" * 2**16
    os.write(output.writer.fileno(), b"first\n")
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
        stdin=subprocess.PIPE,
        stdout=output.writer.fileno(),
    ) as process:
        process.communicate(lines)
    assert output.finish() == (
        "the target printed 1.05 MB; it begins: first / 0123456789abcde / 0123456789abcde"
    )
    assert output.count == len(lines) + 6


class Unreadable(Exception):
    """An exception whose message cannot be read."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_text_that_controls_a_terminal_is_escaped() -> None:
    assert make_printable("plain, é, 漢 and ≤") == "plain, é, 漢 and ≤"
    assert make_printable("\x1b[2J\ud800\u202e\n\t") == r"\x1b[2J\ud800\u202e\n\t"
    assert make_printable("a\n\tb\x07", keep="\n\t") == "a\n\tb\\x07"
    data = {"a\x1b": ["b\x1b\n", 1, None, {"c": "\ud800"}]}
    assert make_data_printable(data) == {"a\\x1b": ["b\\x1b\n", 1, None, {"c": "\\ud800"}]}


def test_messages_of_exceptions_can_always_be_read() -> None:
    assert read_message(ValueError("a\n b\x00")) == r"a b\x00"
    assert read_message(Unreadable()) == "(its message cannot be read: KeyboardInterrupt)"
    assert len(read_message(ValueError("x" * 10**6))) == 10_000


def test_name_of_an_exception_is_printable_and_cut_off() -> None:
    assert read_type(ValueError()) == "ValueError"
    assert read_type(type("Odd\x1b[31m", (Exception,), {})()) == r"Odd\x1b[31m"
    assert read_type(type("X" * 10**6, (Exception,), {})()) == "X" * 100 + "..."
