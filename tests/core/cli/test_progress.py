"""How far a training is, of how much, and its loss: on a terminal as a bar, in a pipe as lines."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from medzoo.core.cli import main

FIT = "fit --model toy --trainer.accelerator cpu --run_dir run"
LOSS = r"loss \d+(\.\d+)?(e-?\d+)?"


class Terminal(io.TextIOWrapper):
    """A terminal of 100 columns that remembers what it was told."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, arguments: str, encoding: str = "utf-8") -> str:
    """Run medzoo with a terminal as its standard output and return all that it wrote there."""
    terminal = Terminal(encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setenv("COLUMNS", "100")
        assert main(arguments.split()) == 0
    assert isinstance(terminal.buffer, io.BytesIO)
    return terminal.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ("--trainer.max_epochs 3", "epoch 3/3"),
        ("--trainer.max_steps 7", "step 7/7"),
        ("--trainer.max_steps 7 --trainer.max_epochs 2", "step 7/7"),
        ("--trainer.max_steps 1000 --trainer.max_epochs 2", "epoch 2/2"),
        ("--trainer.max_epochs 2 --model.two_optimizers true", "epoch 2/2"),
    ],
)
def test_a_terminal_has_one_bar_with_the_end_of_the_training_and_the_loss(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, options: str, last: str
) -> None:
    shown = on_a_terminal(monkeypatch, f"{FIT} {options}")
    looks = [look for look in re.split(r"[\r\n]", shown) if re.match(r"toy (step|epoch) \d", look)]
    assert looks[-1].startswith(f"toy {last} 100%|"), looks
    assert re.search(LOSS, looks[-1])
    for look in looks:
        found = re.match(r"toy (step|epoch) (\d+)/(\d+) ", look)
        assert found is not None, look
        assert 1 <= int(found[2]) <= int(found[3])
    assert "/-" not in shown


def test_a_terminal_without_unicode_has_a_bar_too(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(monkeypatch, f"{FIT} --trainer.max_epochs 2", "ascii")
    bars = [look for look in re.split(r"[\r\n]", shown) if look.startswith("toy epoch")]
    assert bars[-1].startswith("toy epoch 2/2 100%|#")
    assert bars[-1].isascii()
    assert re.search(LOSS, bars[-1])


def test_a_terminal_that_does_not_tell_its_size_has_a_bar_too(workdir: Path) -> None:
    """As one of a container, of CI or of `expect`."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "medzoo.core", *f"{FIT} --trainer.max_epochs 2".split()]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    written = b""
    with suppress(OSError):  # what Linux says at the end
        while part := os.read(ours, 65536):
            written += part
    os.close(ours)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert re.search(rf"\rtoy epoch 2/2 100%\|█+\|.*{LOSS}", written.decode())


def test_the_stages_of_a_method_are_named(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(monkeypatch, "fit --model toy-stages --trainer.accelerator cpu --run_dir run")
    for stage in ("stage1", "stage2"):
        assert re.search(rf"toy-stages {stage} epoch 2/2 100%.*{LOSS}", shown)


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ("--trainer.max_epochs 3", ["epoch 1/3", "epoch 2/3", "epoch 3/3"]),
        ("--trainer.max_steps 7", ["step 4/7", "step 7/7"]),
    ],
)
def test_a_pipe_gets_plain_lines(
    workdir: Path, capsys: pytest.CaptureFixture[str], options: str, places: list[str]
) -> None:
    assert main([*FIT.split(), *options.split(), "--data.n", "32", "--data.batch_size", "8"]) == 0
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if line.startswith("toy ") and "train/loss" in line]
    assert [" ".join(line.split()[1:3]) for line in lines] == places
    assert not re.search(r"[\r\x1b\x08]", shown)


def test_a_log_of_many_short_epochs_has_a_line_for_each_per_cent(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                *FIT.split(),
                "--trainer.max_steps",
                "300",
                "--trainer.max_epochs",
                "-1",
                "--trainer.limit_train_batches",
                "1",
            ]
        )
        == 0
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if "train/loss" in line]
    assert 90 <= len(lines) <= 101
    assert "step 300/300" in lines[-1]


def test_a_bar_of_the_users_own_takes_the_place_of_ours(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "bar.yaml").write_text(
        "trainer:\n  callbacks:\n  - class_path: lightning.pytorch.callbacks.TQDMProgressBar\n"
    )
    shown = on_a_terminal(monkeypatch, f"{FIT} --trainer.max_epochs 2 --config bar.yaml")
    assert "Epoch 1: 100%" in shown
    assert "toy epoch" not in shown
