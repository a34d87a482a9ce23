"""A process of another Python that runs anomalib: requests by a pipe, images and score maps by files."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import ConfigError, first_line

PYTHON = "MEDZOO_ANOMALIB_PYTHON"
"""The environment variable that names the Python; no option does, or a checkpoint or a recipe could run programs."""
_INSTALL = "python3 -m venv DIR && DIR/bin/pip install 'anomalib>=2.4' torch torchvision"
_LONGEST = 1 << 20  # bytes of an answer


class Worker:
    """A started `worker.py`, which ends with this object.

    Args:
        limit: Seconds that an answer may take.

    Raises:
        ConfigError: No Python of an environment with anomalib is named.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.python, self.number = limit, _python(), 0
        self.folder = Path(tempfile.mkdtemp(prefix="medzoo-anomalib-"))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        with (self.folder / "log").open("wb") as log:
            try:
                self.process = subprocess.Popen(  # noqa: S603 - a list, no shell; the program that the user named
                    [self.python, "-I", str(Path(__file__).with_name("worker.py")), str(self.folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=kept,
                )
            except OSError as error:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise ConfigError(f"{PYTHON}: {self.python} does not run ({error.strerror}); {_INSTALL}") from error
        self.stop = weakref.finalize(self, _stop, self.process, self.folder, os.getpid())

    def ask(self, do: str, **request: object) -> None:
        """Send a request and wait for its answer.

        Raises:
            ConfigError: The request is refused, or no answer comes.
        """
        assert self.process.stdin
        with suppress(OSError):  # it has ended, and its log says why
            self.process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            self.process.stdin.flush()
        line = self._line()
        try:
            answer = json.loads(line)
            kind, text = answer.get("error"), first_line(Exception(answer.get("text", "")))
        except (ValueError, AttributeError) as error:
            self.stop()
            raise ConfigError(
                f"{PYTHON}: {self.python} is no Python of an environment with anomalib; {_INSTALL}"
            ) from error
        if kind == "import":
            self.stop()
            raise ConfigError(f"anomalib cannot be imported by {self.python} ({text}); {_INSTALL}")
        if kind is not None:
            raise ConfigError(f"--model.{kind}: {text}" if kind in ("detector", "options") else f"anomalib: {text}")

    def send(self, images: NDArray[np.float32]) -> int:
        """Write images (B, 3, H, W) where a request finds them, and return their number."""
        self.number += 1
        np.savez(self.folder / f"{self.number}.in.npz", images=images)
        return self.number

    def received(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the score maps (B, h, w) and image scores (B,) of a request, whose files go."""
        with np.load(self.folder / f"{number}.out.npz", allow_pickle=False) as file:
            found = file["maps"], file["scores"]
        self.forget(number)
        return found

    def forget(self, number: int) -> None:
        """Remove the files of a request."""
        for file in self.folder.glob(f"{number}.*.npz"):
            file.unlink()

    def _line(self) -> bytes:
        """Read one answer within the limit."""
        assert self.process.stdout
        pipe, end, read = self.process.stdout.fileno(), time.monotonic() + self.limit, b""
        while not read.endswith(b"\n") and len(read) < _LONGEST:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            part = os.read(pipe, _LONGEST) if ready else b""
            if not part:
                said = (self.folder / "log").read_text(encoding="utf8", errors="replace").strip().splitlines()[-1:]
                self.stop()
                if ready:
                    why = f" ({said[0][:200]})" if said else ""
                    raise ConfigError(f"anomalib: {self.python} ended without an answer{why}")
                raise ConfigError(f"anomalib: no answer in {self.limit:g} s; --model.limit gives it more")
            read += part
        return read


def _python() -> str:
    named = os.environ.get(PYTHON, "")
    if not named:
        raise ConfigError(
            f"anomalib runs in an environment of its own: {_INSTALL}, then export {PYTHON}=DIR/bin/python"
        )
    if not (Path(named).is_file() and os.access(named, os.X_OK)):
        raise ConfigError(f"{PYTHON}: {named} is not a program; expected the Python of an environment: {_INSTALL}")
    return str(Path(named).absolute())  # never resolved: what it links to knows nothing of its environment


def _stop(process: subprocess.Popen[bytes], folder: Path, owner: int) -> None:
    """End the process and remove its folder, but not from a fork, such as a loader's worker."""
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):  # a request that nobody read
                pipe.close()
    shutil.rmtree(folder, ignore_errors=True)
