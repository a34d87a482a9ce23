"""Two processes give the figures of one, also where the second has no image to validate and to test on."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest

from medzoo.core.cli import main
from medzoo.core.io import read_json, write_image
from medzoo.core.testing.processes import Command, pair

TWO = "--trainer.devices 2 --trainer.strategy ddp --trainer.accelerator cpu --quiet"
ONE = "--trainer.devices 1 --trainer.strategy auto --trainer.accelerator cpu --quiet"
FIT = (
    "fit --model heatmap --data landmark-folder --data.root hands --data.shots all "
    "--model.size 32 --model.width 4 --model.decoder_width 8 --model.batch 2 --model.steps 4"
)


def figures(run: Path) -> dict[str, float]:
    """Return the metrics of a run, NaN where there is none."""
    metrics = read_json(run / "results.json")["metrics"]
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def both(arguments: str, folder: Path) -> None:
    processes = pair(lambda args, env: Command(args, folder, env), f"{arguments} {TWO}".split())
    try:
        assert [process.wait() for process in processes] == [0, 0], processes[0].output()
    finally:
        for process in processes:
            process.kill(signal.SIGKILL)


@pytest.mark.slow
def test_a_process_without_an_image_joins_the_other(workdir: Path) -> None:
    (workdir / "hands").mkdir()
    rows = ["id,landmark,x,y,split"]
    for i in range(6):
        write_image(workdir / "hands" / f"im{i}.png", np.random.default_rng(i).random((40, 48)).astype(np.float32))
        part = {4: "val", 5: "test"}.get(i, "train")
        rows += [f"im{i},tip,{10 + i},{8 + i},{part}", f"im{i},root,{20 + i},30,{part}"]
    (workdir / "hands" / "landmarks.csv").write_text("\n".join(rows) + "\n")
    both(f"{FIT} --run_dir two", workdir)
    asked = "--ckpt_path two/checkpoints/last.ckpt"
    for verb in ("test", "validate"):
        assert not main(f"{verb} {asked} --run_dir {verb}1 {ONE}".split())
        both(f"{verb} {asked} --run_dir {verb}2", workdir)
        one, two = (figures(workdir / f"{verb}{n}") for n in (1, 2))
        assert two == pytest.approx(one, rel=1e-6, nan_ok=True)
    assert figures(workdir / "two") == pytest.approx(figures(workdir / "test1"), rel=1e-6, nan_ok=True)
    assert (workdir / "test1" / "samples.csv").read_text() == (workdir / "test2" / "samples.csv").read_text()
