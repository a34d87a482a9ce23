"""One cell in a process of its own: `python -m medzoo.core.benchmark.cell FOLDER` fits, tests and measures."""

from __future__ import annotations

import fcntl
import io
import platform
import resource
import shutil
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import TypedDict, cast

from medzoo.core.benchmark.figures import Result
from medzoo.core.cli import main as medzoo
from medzoo.core.cli.streams import say
from medzoo.core.io import read_object, write_json

WANTED, RESULT = "cell.json", "result.json"
_SIGNAL = 128
"""Exit codes from here on say that a signal stopped the fit, so that the cell is to be run again."""


class _Fitted(TypedDict):
    """What is read of the `results.json` of a fit."""

    metrics: dict[str, float | None]
    seconds: float
    samples_per_second: float
    versions: dict[str, str]


def run(folder: Path) -> int:
    """Run the cell that `FOLDER/cell.json` describes, and write `FOLDER/result.json` once it is finished.

    A second process waits for the first one's end and takes its result. What a killed one left is removed.

    Returns:
        The exit code of `medzoo fit`.
    """
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if finished(folder) is not None:
            return 0
        arguments = [str(argument) for argument in cast(list[str], read_object(folder / WANTED)["arguments"])]
        shutil.rmtree(folder / "run", ignore_errors=True)
        result, code = measured(arguments, folder / "run")
        if code < _SIGNAL:
            write_json(folder / RESULT, result)
        return code


def finished(folder: Path) -> Result | None:
    """Return what a cell that ended well left; None where it has not, or has failed, and is to be run (again)."""
    result = outcome(folder)
    return result if result is not None and result["status"] == "ok" else None


def outcome(folder: Path) -> Result | None:
    """Return what a cell that ended left, well or not; None where there is nothing."""
    path = folder / RESULT
    return cast(Result, read_object(path)) if path.is_file() else None


def measured(arguments: list[str], run_folder: Path) -> tuple[Result, int]:
    """Fit and test, between two measurements of the machine's speed; return the figures and the exit code."""
    import torch

    from medzoo.core.benchmark.reference import reference_rate

    given = [a.partition("=")[2] or b for a, b in zip(arguments, [*arguments[1:], ""], strict=True)]
    accelerators = [v for a, v in zip(arguments, given, strict=True) if a.startswith("--trainer.accelerator")]
    device = "cuda" if torch.cuda.is_available() and accelerators[-1:] != ["cpu"] else "cpu"
    before = reference_rate(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    messages = io.StringIO()
    with redirect_stderr(messages):
        code = medzoo(["fit", *arguments, "--run_dir", str(run_folder), "--quiet"])
    for line in messages.getvalue().splitlines():
        say(line, error=True)
    if code:
        said = [line for line in messages.getvalue().splitlines() if line.startswith("medzoo: ")]
        return {"status": "failed", "error": said[-1] if said else f"medzoo fit ended with code {code}"}, code
    rate = (before + reference_rate(device)) / 2
    results = cast(_Fitted, read_object(run_folder / "results.json"))
    found: Result = {
        "status": "ok",
        "metrics": results["metrics"],
        "seconds": results["seconds"],
        "samples_per_second": results["samples_per_second"],
        "reference_samples_per_second": round(rate, 3),
        "speed": results["samples_per_second"] / rate,
        "memory_mb": round(peak_memory(), 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "versions": results["versions"],
    }
    if device == "cuda":
        found["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found, 0


def peak_memory() -> float:
    """Return the most resident memory of this process so far, in MB.

    Linux counts the parent's memory at the fork in `ru_maxrss`; its own record begins with the program.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
