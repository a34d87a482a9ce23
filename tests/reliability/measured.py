"""A process that has imported all libraries and runs `medzoo` commands in forks of itself; a script, run by a fixture.

It reads a line of JSON for each command, a list of arguments with the folder first, and answers with a line: the exit
code, what was printed, seconds of processor time and largest memory (of `os.wait4`), and what the command did that a
refused one must not do: start a program, open a connection, or open a file for writing.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

PRELOADED = [
    "medzoo.core.cli.run",
    "medzoo.core.cli.parser",
    "medzoo.core.cli.check",
    "medzoo.core.cli.select",
    "medzoo.core.runs.runner",
    "medzoo.core.runs.checkpoint_io",
    "medzoo.core.data.loaders",
    "medzoo.landmark.heatmap",
    "medzoo.landmark.scp",
    "medzoo.landmark.data.folder",
    "medzoo.anomaly.padim",
    "medzoo.anomaly.data.images",
    "medzoo_toy.model",
    "medzoo_toy.data",
]
STARTED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")
CONTACTED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
_SECONDS, _BYTES = 30, 12 * 2**30
"""What a command may take before the system ends it: far beyond what the tests allow."""


def run(folder: str, args: list[str], done: int) -> None:
    """Become the command, in a fork; what it did goes to the file `done`."""
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    signal.alarm(300)
    os.chdir(folder)
    sys.path.insert(0, folder)
    from medzoo.core.cli import main

    def watch(event: str, given: tuple[Any, ...]) -> None:
        told = ""
        if event in STARTED or event in CONTACTED:
            told = f"{event} {given!s:.100}"
        elif event == "open" and isinstance(given[0], str | bytes | os.PathLike) and given[0] != os.devnull:
            told = f"write {given[0]!s:.200}" if given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else ""
        if told:
            os.write(done, f"{told}\n".encode(errors="replace"))

    sys.addaudithook(watch)
    code = main(args)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Answer commands until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        folder, *args = json.loads(line)
        with tempfile.TemporaryDirectory() as kept:
            files = [Path(kept, name) for name in ("out", "err", "done")]
            handles = [os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for file in files]
            child = os.fork()
            if not child:
                try:
                    os.dup2(handles[0], 1)
                    os.dup2(handles[1], 2)
                    run(folder, args, handles[2])
                finally:
                    os._exit(99)
            _, status, used = os.wait4(child, 0)
            for handle in handles:
                os.close(handle)
            out, err, did = (file.read_text(errors="replace") for file in files)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "out": out,
            "err": err,
            "did": did.splitlines(),
            "seconds": used.ru_utime + used.ru_stime,
            "mb": used.ru_maxrss / 1024,
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
