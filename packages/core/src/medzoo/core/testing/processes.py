"""The `medzoo` command in processes of its own that start in milliseconds, for tests that kill them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

_PRELOADED = [
    "medzoo.core.cli.run",
    "medzoo.core.cli.parser",
    "medzoo.core.runs.runner",
    "medzoo.core.runs.checkpoint_io",
    "medzoo.core.data.loaders",
    "rich.table",
]


class Command:
    """`medzoo ARGS` started in a folder, in a process group of its own; output goes to a file.

    It is forked from a server that has imported torch and Lightning but never run anything.

    Args:
        args: Arguments of the command.
        folder: Working directory.
        env: Environment variables to set.
        preload: More modules for the server to import; only those of the first command of a test session count.
    """

    log_name = "output.txt"

    def __init__(
        self, args: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, preload: Sequence[str] = ()
    ) -> None:
        context: ForkServerContext = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*_PRELOADED, *preload])
        self.log = folder / self.log_name
        self.process: BaseProcess = context.Process(
            target=_run, args=(list(args), str(folder), str(self.log), dict(env or {}))
        )
        self.process.start()

    def wait(self, seconds: float = 120.0) -> int:
        """Wait for the end and return the exit code, that of a shell: 128 + n after signal n."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill(signal.SIGKILL)
            raise TimeoutError(f"medzoo did not end within {seconds:g} s; it wrote:\n{self.output()}")
        code: int = self.process.exitcode
        return code if code >= 0 else 128 - code

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Wait until a condition holds; `False` where the command ended first."""
        end = time.monotonic() + seconds
        while not condition():
            if self.process.exitcode is not None:
                return False
            if time.monotonic() > end:
                raise TimeoutError(f"the condition was not met within {seconds:g} s; medzoo wrote:\n{self.output()}")
            time.sleep(0.001)
        return True

    def kill(self, signum: int, group: bool = True) -> None:
        """Send a signal to the command, and with `group` to its loader processes too."""
        assert self.process.pid is not None
        try:
            (os.killpg if group else os.kill)(self.process.pid, signum)
        except ProcessLookupError:  # ended by itself
            return

    def output(self) -> str:
        """Return what it has written to stdout and stderr."""
        return self.log.read_text(encoding="utf8", errors="replace") if self.log.is_file() else ""


def pair(start: Callable[..., Command], args: Sequence[str]) -> list[Command]:
    """Start both processes of a run with two, as torchrun would.

    Args:
        start: Starts a command: `start(args, env=…)`.
        args: Arguments of the command, with the devices and the strategy.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(args, env={**place, "LOCAL_RANK": str(rank)}) for rank in range(2)]


def _run(args: list[str], folder: str, log: str, env: dict[str, str]) -> None:
    """Become the command (in the forked process)."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    os.chdir(folder)
    os.environ.update(env)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    multiprocessing.set_start_method("fork", force=True)  # for loader processes, as in a shell
    sys.argv = ["medzoo", *args]
    from medzoo.core.cli import main

    sys.exit(main(args))
