"""Options of the trainer that Lightning takes and then fails with, or with which nothing is trained: one line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.core.cli import main

EARLY = "{class_path: EarlyStopping, init_args: {monitor: nosuch}}"
TIMER = "{class_path: Timer, init_args: {duration: %s}}"


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("accumulate_grad_batches", "0", "expected at least 1, got 0"),
        ("check_val_every_n_epoch", "0", "expected at least 1, got 0"),
        ("gradient_clip_val", "-1", "expected at least 0, got -1"),
        ("limit_train_batches", "0", "expected more than 0, got 0"),
        ("log_every_n_steps", "-1", "expected at least 0, got -1"),
        ("max_epochs", "0", "expected at least 1, got 0"),
        ("max_steps", "0", "expected at least 1, got 0"),
        ("num_sanity_val_steps", "-5", "expected at least 0, got -5"),
        ("val_check_interval", "0", "expected more than 0, got 0"),
        ("strategy", "ddp_spawn", "expected auto, ddp, "),
        ("precision", "3", "expected one of 64, 32, 16, "),
        ("accelerator", "tpu", "torch_xla"),
        ("callbacks", EARLY, "`nosuch` which is not available"),
        ("callbacks", TIMER % "x", "not a valid duration"),
    ],
)
def test_options_that_cannot_be_cost_one_line_and_leave_nothing(
    workdir: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str
) -> None:
    assert main(["fit", "--model", "toy", "--quiet", f"--trainer.{option}", value]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("medzoo: error: --trainer")
    assert expected in err
    assert not any(path.is_file() for path in workdir.rglob("*"))


def test_a_callback_with_a_named_constant_among_its_settings_can_be_given(workdir: Path) -> None:
    given = ["--trainer.callbacks", TIMER % "'00:00:01:00'", "--trainer.max_epochs", "1"]
    assert main(["fit", "--model", "toy", "--quiet", "--run_dir", "run", *given]) == 0
    assert "interval: step" in (workdir / "run/config.yaml").read_text()
    assert main(["fit", "--config", "run/config.yaml", "--quiet", "--run_dir", "again"]) == 0
