"""`medzoo attack` on models of the zoo, known by their checkpoint alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medzoo.adversarial.attack.command import run
from medzoo.adversarial.engine import CORRUPTIONS
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError

FITS = {
    "heatmap": "--model.width 4 --model.size 32 --data.image_size 48 --data.n_train 4 --data.n_test 3 "
    "--data.domains [hand]",
    "padim": "--model.size 32 --model.widths [4,6,8] --data.train 6 --data.test 6 --data.pixels 48",
    "normnet": "--model.widths [4,8] --model.patch [8,8,8] --model.members 1 --model.epochs 1 --data.train 2 "
    "--data.val 1 --data.test 1 --data.size [24,24,24]",
}


@pytest.fixture(scope="module", params=FITS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    fit = f"fit --model {request.param} {FITS[request.param]} --trainer.max_epochs 1 --trainer.accelerator cpu --quiet"
    assert main([*fit.split(), "--run_dir", str(folder)]) == 0
    return folder / "checkpoints" / "last.ckpt"


def test_any_checkpoint_is_attacked_and_leaves_table_rows_and_pictures(checkpoint: Path, tmp_path: Path) -> None:
    name = checkpoint.parts[-3]
    bounds = ["--bounds", "-1100,3000"] if "normnet" in str(checkpoint) else []
    eps = "1,40" if bounds else "1/255,64/255"
    run([str(checkpoint), "--eps", eps, "--steps", "3", "--run_dir", str(tmp_path / "out"), "--keep_images", *bounds])
    out = tmp_path / "out"
    budgets = json.loads((out / "results.json").read_text())["budgets"]
    assert [row["eps"] for row in budgets] == sorted(row["eps"] for row in budgets), name
    assert budgets[0]["linf"] == 0
    for row in budgets[1:]:
        assert 0 < row["linf"] <= row["eps"] * (1 + 1e-4)
    wrong = [row["success"] for row in budgets]
    assert min(wrong) == wrong[0], "what was wrong stays wrong"
    with (out / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    images = {row["id"] for row in rows}
    assert len(rows) == 3 * len(images)
    assert {path.name for path in (out / "figures").iterdir()} == {
        "curves.png",
        *(f"examples_{i}.png" for i in range(3)),
    }
    assert len(list((out / "images").rglob("*.npy"))) == len(rows)


def test_the_same_seed_gives_the_same_table(checkpoint: Path, tmp_path: Path) -> None:
    if "normnet" in str(checkpoint):
        pytest.skip("a volume takes long enough once")
    for name in ("a", "b"):
        run([str(checkpoint), "--eps", "4/255", "--steps", "2", "--batches", "1", "--run_dir", str(tmp_path / name)])
    assert (tmp_path / "a/samples.csv").read_bytes() == (tmp_path / "b/samples.csv").read_bytes()


def test_an_image_is_attacked_from_the_same_start_in_any_batch(checkpoint: Path, tmp_path: Path) -> None:
    if "padim" not in str(checkpoint):
        pytest.skip("one model is enough")
    found = []
    for size in ("1", "4"):
        out = tmp_path / size
        more = ["--eps", "1/255", "--steps", "1", "--keep_images", "--data.test", "3", "--data.batch_size", size]
        run([str(checkpoint), *more, "--run_dir", str(out)])
        found.append({str(path.relative_to(out)): np.load(path) for path in out.rglob("*.npy")})
    assert found[0].keys() == found[1].keys()
    for name, image in found[0].items():
        np.testing.assert_allclose(image, found[1][name], atol=1e-6, err_msg=name)


def test_corruptions_have_a_row_each_and_their_means(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "normnet" in str(checkpoint):
        pytest.skip("a pass for each corruption; volumes take long enough once")
    few = {name: CORRUPTIONS[name] for name in ("impulse-noise", "jpeg", "darker")}
    monkeypatch.setattr("medzoo.adversarial.engine.CORRUPTIONS", few)
    out = tmp_path / "out"
    run([str(checkpoint), "--attack", "corruptions", "--severities", "5,1", "--batches", "1", "--run_dir", str(out)])
    with (out / "attack.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["corruption"], row["severity"]) for row in rows] == [
        ("none", "0"),
        *((kind, level) for kind in few for level in ("1", "5")),
    ]
    assert float(rows[0]["linf"]) == 0
    assert all(0 < float(weak["linf"]) < float(strong["linf"]) or weak["corruption"] == "impulse-noise"
               for weak, strong in zip(rows[1::2], rows[2::2], strict=True))  # fmt: skip
    with (out / "corruptions.csv").open() as file:
        means = list(csv.DictReader(file))
    assert [row["corruption"] for row in means] == [*few, "all"]
    every = [float(row["success"]) for row in rows[1:]]
    assert float(means[-1]["success"]) == pytest.approx(sum(every) / len(every))
    assert (out / "figures/curves.png").is_file()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--attack", "magic"], "--attack: expected fgsm, bim"),
        (["--esp", "1/255"], "no option --esp; did you mean --eps?"),
        (["--steps", "2.5"], "--steps: expected a whole number, 1 or more, got 2.5"),
        (["--tolerance", "-1"], "--tolerance: expected pixels above 0, got -1"),
        (["--eps", "0"], "--eps: expected budgets above 0, got 0"),
        (["--eps", "1/0"], "--eps: expected a number or a fraction such as 1/255, got 1/0"),
        (["--eps", "2"], "eps: expected 0 to 1, in the unit of the images, got 2"),
        (["--bounds", "1"], "--bounds: expected LOW,HIGH, got 1"),
        (["--attack", "square", "--norm", "l3"], "norm"),
        (["--attack", "corruptions", "--eps", "1/255"], "--eps: a corruption has none; take --severities"),
        (["--attack", "corruptions", "--severities", "6"], "--severities: expected some of 1 to 5, got 6"),
        (["--severities", "1"], "--severities: they are of --attack corruptions"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, more: list[str], text: str
) -> None:
    if "padim" not in str(checkpoint):
        pytest.skip("options are those of every model")
    with pytest.raises(ConfigError) as caught:
        run([str(checkpoint), *more, "--run_dir", str(tmp_path / "out")])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_a_checkpoint_one_line_says_so() -> None:
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        run([])
