"""Memory and time of `medzoo predict CKPT FOLDER` over many electrocardiograms: `python benchmarks/ecg_memory.py CKPT`.

Draws 100 records, links them under as many names as `--records` asks for, and answers them once for each number, in a
process of its own. Prints seconds, milliseconds a record, the most memory that the process held, and where it stood
after a tenth of the records: flat memory means that the two are alike.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from medzoo.anomaly.signals.leads import STANDARD
from medzoo.core.phantoms.ecg import twelve_leads

DISTINCT, RATE = 100, 500.0


def draw(folder: Path) -> list[Path]:
    """Write normal records of 10 s and 12 leads at 500 Hz, in mV."""
    found = []
    for patient in range(DISTINCT):
        path = folder / f"{patient}.npz"
        np.savez(path, signal=twelve_leads(patient, rate=RATE).signal, leads=np.array(STANDARD), rate=RATE)
        found.append(path)
    return found


def held(process: int) -> float:
    """Return the memory of a running process in MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print a line a number of records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--records", type=int, nargs="+", default=[100, 1000, 10000])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        drawn = draw(Path(scratch))
        for count in given.records:
            folder, out = Path(scratch, f"of{count}"), Path(scratch, f"out{count}")
            folder.mkdir()
            for number in range(count):
                os.link(drawn[number % len(drawn)], folder / f"{number:06}.npz")
            command = [
                sys.executable,
                "-m",
                "medzoo.core",
                "predict",
                str(given.checkpoint),
                str(folder),
                "-o",
                str(out),
            ]
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
                early, most = watch(running, out / "predictions.jsonl", count // 10)
            seconds = time.perf_counter() - start
            if running.returncode:
                raise SystemExit(f"medzoo predict ended with {running.returncode}")
            print(
                f"{count} records: {seconds:.0f} s, {1000 * seconds / count:.0f} ms a record, "
                f"{early:.0f} MiB after a tenth, {most:.0f} MiB at most",
                flush=True,
            )


def watch(running: subprocess.Popen[bytes], answers: Path, tenth: int) -> tuple[float, float]:
    """Return the memory of a process after a tenth of its answers, and the most that it held."""
    early = most = 0.0
    wait = threading.Event()
    while running.poll() is None:
        try:
            now = held(running.pid)
        except (OSError, IndexError):  # it ended in between
            break
        most = max(most, now)
        if not early and answers.is_file() and answers.read_bytes().count(b"\n") >= tenth:
            early = most
        wait.wait(0.5)
    running.wait()
    return early, most


if __name__ == "__main__":
    main()
