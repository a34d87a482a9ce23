"""What the small verbs print: the same on every terminal, and nothing that controls one."""

from __future__ import annotations

import io
import sys

import pytest

from medzoo.core.cli import main
from medzoo.core.cli.streams import show


@pytest.mark.parametrize(
    "arguments",
    ["info uod", "info toy", "info elastic-deform", "info --help", "list --long", "list --json", "doctor", "--help"]
    + ["check --data toy-data", "check --help", "check --data toy-data --help", "fit --help", "fit --model toy --help"]
    + ["select --help", "--version"],
)
def test_a_terminal_without_unicode_gets_every_line(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {}
    for encoding in ("utf-8", "ascii"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert main(arguments.split()) == 0
        assert isinstance(stream.buffer, io.BytesIO)
        told[encoding] = stream.buffer.getvalue().decode(encoding)
    assert told["utf-8"].strip()
    assert told["ascii"] == told["utf-8"].encode("ascii", "backslashreplace").decode()


def test_a_page_keeps_its_lines_and_loses_what_controls_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show("a \x1b[31mcard\n\n\tof two\r lines")
    assert capsys.readouterr().out == "a \\x1b[31mcard\n\n        of two\\r lines\n"
