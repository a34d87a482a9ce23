"""Further test sets: what of them is tested is said where it is not all."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medzoo.core.cli import main
from medzoo.core.cli.cohorts import build_test_sets
from medzoo.core.io import write_image
from medzoo.core.phantoms.blobs import blob
from medzoo.core.registry import load, specs


def built(**settings: object) -> dict[str, Any]:
    data = SimpleNamespace(init_args={"root": "a", **settings}, class_path="x.Folder")
    cli: Any = SimpleNamespace(config=SimpleNamespace(data=data), build_data=dict)
    return dict(build_test_sets(cli, {"clinic": "b"}))


def test_a_set_is_tested_whole_or_it_is_said_that_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert built(test_fraction=0.2, all_test=False) == {"clinic": {"root": "b", "all_test": True}}
    assert capsys.readouterr().out == ""
    assert built(test_fraction=0.2) == {"clinic": {"root": "b"}}
    assert "testing a part of b, not all of it: its own test part or" in capsys.readouterr().out


def test_so_it_is_of_a_folder_that_the_checkpoint_does_not_know(
    workdir: object, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, root in enumerate(("home", "clinic")):
        for i in range(10):
            image, mask = blob((number, i), 16)
            write_image(f"{root}/images/n{i}.png", image)
            write_image(f"{root}/masks/n{i}.png", mask)
    small = "--model.width 4 --model.depth 2 --model.size 16 --model.steps 1 --trainer.accelerator cpu --quiet"
    data = "--data masks-folder --data.root home --run_dir run"
    assert main(["fit", "--model", "segmenter", *small.split(), *data.split()]) == 0
    assert "external cohort" not in capsys.readouterr().out
    test = ["test", "--ckpt_path", "run/checkpoints/last.ckpt", "--data", "masks-folder", "--run_dir", "other"]
    assert main([*test, "--data.root", "clinic", "--trainer.accelerator", "cpu"]) == 0
    assert "testing clinic as an external cohort" in capsys.readouterr().out
    assert len(Path("other/samples.csv").read_text().splitlines()) == 11
    again = ["test", "--ckpt_path", "run/checkpoints/last.ckpt", "--data", "masks-folder", "--run_dir", "own"]
    assert main([*again, "--data.root", "home", "--trainer.accelerator", "cpu"]) == 0
    assert len(Path("own/samples.csv").read_text().splitlines()) == 3
    assert (
        main(["fit", "--model", "segmenter", *small.split(), *data.split()[:-1], "more", "--data.all_test", "true"])
        == 2
    )
    assert "no --data.all_test" in capsys.readouterr().err


def test_all_data_of_which_a_part_is_drawn_for_the_test_can_be_tested_whole() -> None:
    seen = 0
    for spec in specs("datamodule"):
        kind = load(spec)
        options = {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters}
        seen += "test_fraction" in options
        assert "test_fraction" not in options or "all_test" in options, spec.name
    assert seen > 2
