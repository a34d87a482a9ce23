"""Standard streams on which writing never ends a run: closed ones, a reader that went away, any encoding."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from medzoo.core.names import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Outlet(io.FileIO):
    """A file descriptor whose output is dropped once nobody reads it, or once it could not be written."""

    def write(self, data: ReadableBuffer) -> int:
        """Write, or drop where the reader of a pipe has ended; any other failure is reported once."""
        try:
            return super().write(data) or 0
        except OSError as error:
            empty = os.open(os.devnull, os.O_WRONLY)
            os.dup2(empty, self.fileno())
            os.close(empty)
            if not isinstance(error, BrokenPipeError):
                raise
            return len(memoryview(data))


def secure_streams() -> None:
    r"""Make `sys.stdout` and `sys.stderr` take whatever is written; call it first in a program.

    `medzoo fit … | head` trains to its end, `>&-` is as good as `/dev/null`, and what the terminal's encoding lacks is
    written as `\xe9` and alike. Streams that a caller has put in their place only get the last of these.
    """
    # A file that is opened later would get the number of a closed stream, and what C libraries print.
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    sys.stdout = _secured(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _secured(sys.stderr, sys.__stderr__, 2)


def _secured(stream: TextIO | None, original: TextIO | None, descriptor: int) -> TextIO:
    if stream is not None and stream is not original:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        return stream
    if stream is not None:
        with suppress(OSError):
            stream.flush()
    outlet = io.BufferedWriter(_Outlet(descriptor, "w", closefd=False))
    lines = os.isatty(descriptor) or descriptor == 2
    encoding = stream.encoding if stream is not None else "utf-8"
    return io.TextIOWrapper(outlet, encoding=encoding, errors="backslashreplace", line_buffering=lines)


def show(text: str) -> None:
    """Print text of several lines, such as a help page or a card, without what controls a terminal."""
    for line in text.expandtabs().split("\n"):
        say(line)


def say(text: object, error: bool = False) -> None:
    """Print one line of text that may come from data, without what controls a terminal."""
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)
