"""F1: a run continued from any step ends with the bits of one that was never interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medzoo.core.cli import main
from medzoo.core.testing.replay import differences, killed_at, snapshots

VALIDATE = ["--data.val", "true"]
ACCUMULATE = ["--trainer.accumulate_grad_batches", "2"]
MID_EPOCH = [*VALIDATE, "--trainer.val_check_interval", "0.5"]
BY_HAND = ["--model.two_optimizers", "true"]
CASES = {
    "plain": [],
    "validation": VALIDATE,
    "accumulate 2": ACCUMULATE,
    "accumulate 2, validation in mid-epoch": [*ACCUMULATE, *MID_EPOCH],
    "two optimisers by hand": BY_HAND,
}
MORE = CASES | {
    "validation every 2 batches": [*VALIDATE, "--trainer.val_check_interval", "2"],
    "validation every 2 epochs": [*VALIDATE, "--trainer.check_val_every_n_epoch", "2"],
    "two optimisers, validation in mid-epoch": [*BY_HAND, *MID_EPOCH],
    "random validation": [*MID_EPOCH, "--model.noisy_validation", "true"],
}


def resume_everywhere(run: Path, count: Any) -> None:
    for snapshot in snapshots(run):
        target = killed_at(run, snapshot, run.parent / "killed")
        code = main(["fit", "--resume", "--run_dir", str(target), "--quiet"])
        found = differences(run, target) if code == 0 else [f"exit code {code}"]
        count(not found, (snapshot.name, found[:3]))
        shutil.rmtree(target)


@pytest.mark.parametrize("case", CASES)
def test_resumed_at_any_step_a_run_ends_with_the_same_bits(
    watched: Callable[..., Path], figure: Any, case: str
) -> None:
    run = watched("--model", "toy", "--trainer.max_epochs", "2", "--data.n", "16", *CASES[case])
    with figure("F1", f"resume from every step: {case}") as count:
        resume_everywhere(run, count)


@pytest.mark.slow
@pytest.mark.parametrize("case", MORE)
def test_resumed_at_any_step_of_four_epochs(watched: Callable[..., Path], figure: Any, case: str) -> None:
    run = watched("--model", "toy", "--trainer.max_epochs", "4", "--data.n", "40", *MORE[case])
    with figure("F1", f"4 epochs of 10 batches: {case}") as count:
        resume_everywhere(run, count)


def test_resumed_at_any_step_of_any_stage(watched: Callable[..., Path], figure: Any) -> None:
    run = watched("--model", "toy-stages", "--data.n", "8")
    with figure("F1", "resume from every step: two stages") as count:
        resume_everywhere(run, count)


def test_a_users_own_checkpoint_of_any_step_continues_in_a_new_run(workdir: Path, figure: Any) -> None:
    # Also of the last step of an epoch, before its end: the next epochs' rows must not hold values of that one.
    own = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": "own", "save_top_k": -1, "every_n_train_steps": 1, "filename": "{step}"},
    }
    (workdir / "own.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [own], "max_epochs": 2}}))
    assert main(["fit", "--model", "toy", "--config", "own.yaml", "--run_dir", "run", "--quiet"]) == 0
    table = Path("run/metrics.csv").read_text().splitlines()
    saved = sorted(Path("own").glob("*.ckpt"), key=lambda p: int(p.stem.partition("=")[2]))
    with figure("F1", "a user's own checkpoint of every step") as count:
        for path in saved[:-1]:  # after the last step nothing is left to train
            new = Path(f"from-{path.stem}")
            code = main(
                ["fit", "--ckpt_path", str(path), "--trainer.max_epochs", "2", "--run_dir", str(new), "--quiet"]
            )
            found = [d for d in differences(Path("run"), new) if d.startswith("checkpoints/last.ckpt")]
            rows = (new / "metrics.csv").read_text().splitlines()
            count(code == 0 and not found and set(rows) <= set(table), (path.name, code, found[:3], rows))
