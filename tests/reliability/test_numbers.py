"""F33, F35: the same command gives the same bits for any number of workers, and no number that is not finite lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medzoo.core.cli import main
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.testing.replay import differences

VALIDATE = ["--data.val", "true"]
FIT = ["fit", "--model", "toy", "--trainer.max_epochs", "3", *VALIDATE, "--quiet"]
BATCHES = 5  # an epoch of toy-data's 20 samples


def test_workers_and_repetition_change_no_bit(workdir: Path, figure: Any) -> None:
    assert main([*FIT, "--run_dir", "first"]) == 0
    with figure("F33", "same seed, 0-3 workers: same bits") as count:
        for workers in ("0", "1", "2", "3"):
            code = main([*FIT, "--data.num_workers", workers, "--run_dir", f"again{workers}"])
            count(code == 0 and not differences(Path("first"), Path(f"again{workers}")), workers)
        for other in (["--seed_everything", "1"], ["--data.seed", "1"]):  # and the seed does count
            code = main([*FIT, *other, "--run_dir", f"other{other[0]}"])
            count(code == 0 and differences(Path("first"), Path(f"other{other[0]}")), other)


def finite(run: Path) -> list[str]:
    """Names of tensors in the run's checkpoints that are not finite."""
    return [
        f"{path.name}:{name}"
        for path in run.rglob("*.ckpt")
        for name, value in read_checkpoint(path)["state_dict"].items()
        if not torch.isfinite(value).all()
    ]


def stopped(run: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main([*FIT, *options, "--run_dir", run])
    err = capsys.readouterr().err.strip()
    assert err.count("\n") == 0, err
    return code, err


@pytest.mark.parametrize("step", [0, 3, BATCHES - 1, BATCHES, 2 * BATCHES + 2])
@pytest.mark.parametrize("by_hand", ["false", "true"])
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(
    workdir: Path, capsys: pytest.CaptureFixture[str], figure: Any, step: int, by_hand: str
) -> None:
    counted = step * 2 if by_hand == "true" else step  # Lightning counts the steps of both optimisers
    with figure("F35", "infinite loss at step k: stopped there, one line, weights kept finite") as count:
        options = ["--model.explode", str(counted), "--model.two_optimizers", by_hand]
        code, err = stopped("run", options, capsys)
        epoch = step // BATCHES
        told = f"step {counted}" in err and f"epoch {epoch}" in err and "train/loss" in err and "point" in err
        count(code == 1 and told, (code, err))
        count(not finite(workdir / "run"), finite(workdir / "run"))
        if epoch == 0:
            count(not (workdir / "run").exists(), "a run that saved nothing leaves nothing")
        else:
            saved = read_checkpoint(workdir / "run/checkpoints/last.ckpt")
            count(saved["epoch"] == epoch - 1, "the last good epoch is kept")


@pytest.mark.parametrize("step", [2, BATCHES - 1, 2 * BATCHES - 1])
def test_weights_that_are_not_finite_are_never_saved(
    workdir: Path, capsys: pytest.CaptureFixture[str], figure: Any, step: int
) -> None:
    # The loss is finite, its gradient is not: at the last step of an epoch only the checkpoint is left to notice.
    own = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "run/own"}}
    own["init_args"] |= {"every_n_train_steps": 1, "save_top_k": -1}
    (workdir / "own.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [own]}}))
    with figure("F35", "gradient that is not finite at step k: no such weights on disk") as count:
        code, err = stopped("run", ["--model.steep", str(step), "--config", "own.yaml"], capsys)
        count(code == 1 and "no longer finite" in err, (code, err))
        count(not finite(workdir / "run"), finite(workdir / "run"))
        code, err = stopped("plain", ["--model.steep", str(step)], capsys)
        count(code == 1 and ("no longer finite" in err or "the loss is nan" in err), (code, err))
        count(not finite(workdir / "plain"), finite(workdir / "plain"))


def test_a_label_that_is_not_a_number_is_named(workdir: Path, capsys: pytest.CaptureFixture[str], figure: Any) -> None:
    with figure("F35", "a target that is not a number: its batch is named") as count:
        for workers in ("0", "2"):
            code, err = stopped("run", ["--data.bad", "7", "--data.num_workers", workers], capsys)
            count(code == 1 and "point7" in err and "epoch 0" in err, (code, err))
