"""Settings of a real checkpoint that cannot be: one line that names the file and the setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medzoo.core.cli import main

DATA, MODEL = "datamodule_hyper_parameters", "hyper_parameters"
TINY = (
    "--model heatmap --data landmark-phantoms --data.domains [head] --data.n_train 2 --data.n_test 2 "
    "--data.image_size 32 --data.shots all --model.size [32,32] --model.width 2 --model.steps 1"
)
WRONG: list[tuple[str, str, Any]] = [
    (DATA, "seed", None),
    (DATA, "seed", "text"),
    (DATA, "seed", -1),
    (DATA, "num_workers", 10**30),  # as many processes were started, until the machine had no more
    (DATA, "n_test", 10**30),
    (DATA, "n_train", 10**30),
    (DATA, "size", 10**30),
    (DATA, "batch_size", [1]),
    (MODEL, "width", None),
    (MODEL, "lr", "text"),
]


def test_a_setting_that_cannot_be_names_the_file_and_itself(
    workdir: Path, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    assert main(["fit", *TINY.split(), "--run_dir", "run", "--quiet"]) == 0
    clean = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    with figure("D1", "settings of a real checkpoint") as count:
        for part, key, value in WRONG:
            torch.save({**clean, part: {**clean[part], key: value}}, "wrong.ckpt")
            capsys.readouterr()
            code = main(["test", "--ckpt_path", "wrong.ckpt", "--quiet"])
            err = capsys.readouterr().err.strip()
            count(code == 2 and "wrong.ckpt" in err and key in err and "\n" not in err, f"{key} {value}: {code} {err}")


def test_nothing_is_no_value_of_a_setting_on_the_command_line(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--model", "toy", "--data.seed", "null"]) == 2
    assert "--data.seed: expected int, got None" in capsys.readouterr().err
