"""What is printed never ends a run: pipes that close, no stream at all, poor encodings, full disks; and no escapes."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from medzoo.core.cli import main
from medzoo.core.distributed import print_once
from medzoo.core.errors import DataError, DiskError
from medzoo.core.io import write_csv, write_json
from medzoo.core.runs.results import print_table

MEDZOO = f"{shlex.quote(sys.executable)} -m medzoo.core"
FIT = "fit --model toy --trainer.max_epochs 3"


def shell(line: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **env},
    )


def test_a_training_whose_reader_leaves_goes_on_to_its_end(workdir: Path) -> None:
    done = shell(f"{MEDZOO} {FIT} 2>&1 | head -c 1")
    assert done.returncode == 0
    run = workdir / "runs/toy/toy-data/0"
    assert (run / "metrics.csv").read_text().count("\n") == 4
    assert (run / "results.json").is_file()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_fault(workdir: Path, closed: str) -> None:
    assert shell(f"{MEDZOO} {FIT} {closed}").returncode == 0
    last = "runs/toy/toy-data/0/checkpoints/last.ckpt"
    assert shell(f"{MEDZOO} predict --ckpt_path {last} {closed}").returncode == 0
    assert (workdir / "runs/toy/toy-data/1/predictions.json").is_file()


def test_a_terminal_of_any_encoding_gets_what_it_can_show(workdir: Path) -> None:
    done = shell(f"{MEDZOO} check --data schädel", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 2
    assert "sch\\xe4del" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_behind_the_output_is_told_in_one_line() -> None:
    done = shell(f"{MEDZOO} list > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("medzoo: error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    full = Path.open

    def open_full(self: Path, mode: str = "r", **more: object) -> object:
        return full(Path("/dev/full") if "w" in mode else self, mode, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_full)
    for write in (lambda p: write_json(p, {"new": 2}), lambda p: write_csv(p, [{"new": 2}])):
        with pytest.raises(DiskError, match=r"a\.json: cannot be written \(No space left on device\)") as caught:
            write(tmp_path / "a.json")
        assert caught.value.exit_code == 1
    monkeypatch.undo()
    assert (tmp_path / "a.json").read_text() == '{\n  "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_internal_error_is_told_also_where_no_file_can_be_kept(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: list[str]) -> None:
        raise ValueError("a defect\x1b[31m")

    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medzoo.core.cli._dispatch", fail)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert main(["list"]) == 1
    shown = capsys.readouterr().err
    assert shown == "medzoo: internal error: ValueError: a defect\\x1b[31m (please report it with what --debug shows)\n"


def test_a_name_with_control_characters_or_markup_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_once("domain \x1b[2J")
    print_table("a [b] on c[/d]", {"x[/red]/mre": 1.0, "\x1b[31mhand/mre": 2.0, "plain/[bold]m": 3.0})
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    for text in ("domain \\x1b[2J", "a [b] on c[/d]", "x[/red]", "\\x1b[31mhand", "[bold]m"):
        assert text in shown


def test_an_error_is_one_line_whatever_the_name_of_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: list[str]) -> None:
        raise DataError("a\nb\x1b[31m\udce9.png", "is damaged")

    monkeypatch.setattr("medzoo.core.cli._dispatch", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "medzoo: error: a\\nb\\x1b[31m\\udce9.png: is damaged\n"


def test_a_wide_table_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    names = ["mre_mm", "mre_mm_low", "mre_mm_high", "std_mm", "sdr_2mm", "sdr_2.5mm", "sdr_3mm", "sdr_4mm", "missing"]
    print_table("t", {f"{row}/{name}": 1.2345 for row in ("head", "chest") for name in names})
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for name in names:  # whole, on a line of its own with both values
        assert [line.count("1.234") for line in lines if f" {name} " in line] == [2]
