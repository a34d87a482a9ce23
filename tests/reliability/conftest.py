"""Figures: each test of a fault counts how often the promise held; a table of all figures ends the session."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from medzoo.core.cli import main
from medzoo.core.testing.processes import Command
from medzoo.core.testing.replay import watching

QUIET = 0.1
"""Seconds of processor time that the work of `slowness` takes on the machine that the limits were set on."""


class Count:
    """How often a promise held."""

    def __init__(self) -> None:
        self.held, self.failures = 0, list[str]()

    def __call__(self, held: bool, detail: object = "") -> None:
        """Count one injection."""
        if held:
            self.held += 1
        else:
            self.failures.append(str(detail))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`with figure("F1", "resume from every step") as count: count(held, detail)`; fails where one did not hold."""

    @contextmanager
    def measure(fault: str, what: str) -> Iterator[Count]:
        count, started, done = Count(), time.perf_counter(), False
        try:
            yield count
            done = True
        finally:
            total = count.held + len(count.failures) + (not done)
            seconds = time.perf_counter() - started
            request.node.user_properties.append(("figure", [fault, what, count.held, total, seconds]))
        assert total, "nothing was injected"
        assert not count.failures, f"{fault}, {what}: {count.held}/{total}; failed: {count.failures[:30]}"

    return measure


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print fault, what, N/N and seconds; figures of one name are added up."""
    rows: dict[tuple[str, str], list[float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for key, value in getattr(report, "user_properties", []) if getattr(report, "when", "") == "call" else []:
                if key == "figure":
                    row = rows.setdefault((value[0], value[1]), [0, 0, 0.0])
                    row[:] = [a + b for a, b in zip(row, value[2:], strict=True)]
    if not rows:
        return
    terminalreporter.section("reliability")
    width = max(len(what) for _, what in rows)
    number = {key: int("".join(filter(str.isdigit, key[0])) or 0) for key in rows}
    for fault, what in sorted(rows, key=lambda key: (number[key], key[1])):
        held, total, seconds = rows[fault, what]
        counted = f"{held:.0f}/{total:.0f}"
        flag = "" if held == total else "  FAILED"
        terminalreporter.write_line(f"{fault:<4} | {what:<{width}} | {counted:>9} | {seconds:6.1f} s{flag}")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start `medzoo ARGS` in a process that a test may kill; what still runs at the end of the test is killed."""
    started: list[Command] = []

    def start(args: Sequence[str], env: Mapping[str, str] | None = None) -> Command:
        started.append(Command([str(a) for a in args], tmp_path, env, preload=["medzoo_toy.model", "medzoo_toy.data"]))
        return started[-1]

    yield start
    for one in started:
        one.kill(9)
        one.process.join(10)


@pytest.fixture
def watched(workdir: Path) -> Callable[..., Path]:
    """Run `medzoo fit` in this process, keeping what a kill after each step would leave; return the run folder."""

    def fit(*args: str, name: str = "run") -> Path:
        (workdir / "watch.yaml").write_text(yaml.safe_dump(watching()))
        run = workdir / name
        assert main(["fit", *args, "--config", "watch.yaml", "--run_dir", str(run), "--quiet"]) == 0
        return run

    return fit


@cache
def slowness() -> float:
    """How much slower than the machine of the figures this one is in processor time: 1 where it is as fast."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(400):
            pickle.loads(pickle.dumps([str(i) for i in range(1000)]))
        best = min(best, time.process_time() - started)
    return max(1.0, best / QUIET)


class Measured:
    """Runs commands in forks of a process that has imported all libraries; see `measured.py` for the answers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.usual = process, dict[str, dict[str, Any]]()

    def __call__(self, folder: Path, *args: str) -> dict[str, Any]:
        """Run one command."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps([str(folder), *args]), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def refused(self, folder: Path, plain: Sequence[str], *args: str, begun: bool = False) -> str:
        """Run a command that must be refused at no cost; return what was wrong with that, empty where nothing.

        Args:
            folder: Working directory, in which nothing may change.
            plain: A command with the same imports and an ordinary mistake, which is the measure.
            args: The command.
            begun: Whether it may begin a run, of which nothing stays.
        """
        key = " ".join(plain)
        if key not in self.usual:
            self.usual[key] = self(folder, *plain)
            assert self.usual[key]["code"] == 2, self.usual[key]
        usual, before = self.usual[key], set(folder.rglob("*"))
        found = self(folder, *args)
        faults = [
            f"exit code {found['code']}" * (found["code"] != 2),
            "not one line" * (len(found["err"].splitlines()) != 1),
            "no error of medzoo" * (not found["err"].startswith("medzoo: error: ")),
            "a long line" * (len(found["err"]) > 2100),
            f"{found['did'][:3]}" * bool(found["did"] and not begun),
            f"left {set(folder.rglob('*')) ^ before}" * (set(folder.rglob("*")) != before),
            f"{found['seconds'] - usual['seconds']:.1f} s" * (found["seconds"] > usual["seconds"] + slowness()),
            f"{found['mb'] - usual['mb']:.0f} MB" * (found["mb"] > usual["mb"] + 512),
        ]
        told = "; ".join(fault for fault in faults if fault)
        return f"{' '.join(args)[:200]}: {told}: {found['err'][-300:]}" if told else ""


@pytest.fixture(scope="session")
def measured() -> Iterator[Measured]:
    """Measures what hostile commands cost beyond an ordinary mistake."""
    script = str(Path(__file__).with_name("measured.py"))
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Measured(process)
