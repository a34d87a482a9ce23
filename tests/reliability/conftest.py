"""Figures: each test of a fault counts how often the promise held; a table of all figures ends the session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from medzoo.core.cli import main
from medzoo.core.testing.processes import Command
from medzoo.core.testing.replay import watching


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
        assert not count.failures, f"{fault}, {what}: {count.held}/{total}; failed: {count.failures[:5]}"

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
