"""Two processes give the figures of one, also where the test images do not divide."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from medzoo.core.cli import main
from medzoo.core.io import read_json
from medzoo.core.testing.processes import Command

TWO = "--trainer.devices 2 --trainer.strategy ddp --trainer.accelerator cpu --quiet"
FITS = {
    "normnet": "--data.train 4 --data.val 3 --data.test 3 --data.size [16,20,24] --model.widths [2,4] "
    "--model.patch [8,8,8] --trainer.max_epochs 2 --trainer.check_val_every_n_epoch 2",
    "regad": "--data.train 5 --data.test 5 --data.pixels 64 --data.shots 3 --data.test_categories [gear,pill] "
    "--model.size [64,64] --model.widths [8,12,16] --model.batch 8 --trainer.max_epochs 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("model", FITS)
def test_two_processes_measure_what_one_does(model: str, workdir: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    arguments = f"fit --model {model} {FITS[model]} {TWO} --run_dir two".split()
    both = [Command(arguments, workdir, {**place, "LOCAL_RANK": str(rank)}) for rank in range(2)]
    try:
        assert [process.wait() for process in both] == [0, 0], both[0].output()
    finally:
        for process in both:
            process.kill(signal.SIGKILL)
    again = "test --ckpt_path two/checkpoints/last.ckpt --trainer.accelerator cpu --trainer.devices 1 --run_dir one"
    assert not main([*again.split(), "--trainer.strategy", "auto", "--quiet"])
    two, one = (read_json(workdir / run / "results.json")["metrics"] for run in ("two", "one"))
    assert two == pytest.approx(one, rel=1e-6, abs=1e-6)
    for table in ("samples.csv", "lesions.csv"):  # the rows of both processes
        if (workdir / "one" / table).is_file():
            first, second = ((workdir / run / table).read_text().splitlines() for run in ("one", "two"))
            assert len(first) == len(second)
