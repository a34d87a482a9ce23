"""Randomised smoothing: certificates of a plane are known, and `medzoo certify` writes what it promises."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binom, norm
from torch import Tensor

from medzoo.adversarial.certify.certificate import ABSTAINS, Smoothing, certify, lower_bound
from medzoo.adversarial.certify.command import run, summary
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError


@pytest.mark.parametrize(("hits", "draws"), [(990, 1000), (60, 100), (1, 5), (5, 5)])
def test_the_bound_is_where_so_many_hits_are_as_rare_as_alpha(hits: int, draws: int) -> None:
    bound = lower_bound(hits, draws, 0.001)
    assert 0 < bound < hits / draws
    assert binom.sf(hits - 1, draws, bound) == pytest.approx(0.001, rel=1e-6)
    assert lower_bound(0, draws, 0.001) == 0


def linear(images: Tensor) -> Tensor:
    """Two classes on either side of a plane: the mean of the four pixels above one half."""
    logit = images.flatten(1).sum(dim=1) - 2.0
    return torch.stack([-logit, logit], dim=1)


@pytest.mark.parametrize("shift", [0.05, 0.1, 0.2])
def test_a_plane_is_certified_up_to_nearly_its_distance_and_never_beyond(shift: float) -> None:
    image = torch.full((1, 2, 2), 0.5 + shift)
    distance, sigma = 4 * shift / 2, 0.25  # a shift of all four pixels, along the normal (1, 1, 1, 1) / 2
    found = certify(linear, image, Smoothing(sigma, 100, 20_000, 0.001, 5000), torch.Generator().manual_seed(0))
    assert found.called == 1
    assert found.radius == pytest.approx(sigma * norm.ppf(found.bound))
    assert 0.85 * distance < found.radius < distance


def test_on_the_border_it_abstains() -> None:
    found = certify(linear, torch.full((1, 2, 2), 0.5), Smoothing(0.25, 50, 500), torch.Generator().manual_seed(1))
    assert found.called == ABSTAINS
    assert found.radius == 0


def test_certified_accuracy_falls_with_the_radius_and_counts_patients() -> None:
    rows: list[dict[str, Any]] = [
        {"id": str(i), "patient": f"p{i // 2}", "radius": 0.1 * i, "correct": int(i != 3), "called": "a"}
        for i in range(4)
    ]
    rows.append({"id": "4", "patient": "p9", "radius": 0.0, "correct": 0, "called": "abstains"})
    table, figures = summary(rows, 0.1)
    shares = [row["certified"] for row in table]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(3 / 5)
    assert next(row["certified"] for row in table if math.isclose(row["radius"], 0.2)) == pytest.approx(1 / 5)
    assert figures["abstentions"] == pytest.approx(1 / 5)
    assert figures["radius_average"] == pytest.approx(0.3 / 5)
    assert all(row["low"] <= row["certified"] <= row["high"] for row in table)


SMALL = ["--data.train", "24", "--data.val", "16", "--data.test", "6", "--data.pixels", "32", "--model.size", "32"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoothed") / "run"
    net = ["--model.backbone", "test_resnet", "--model.batch", "8", "--model.rule", "smoothing"]
    own = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(folder)]
    assert main(["fit", "--model", "robust-classifier", *net, *SMALL, *own]) == 0
    return folder / "checkpoints/last.ckpt"


def test_every_image_has_a_row_and_a_second_run_in_other_batches_is_the_same(checkpoint: Path, tmp_path: Path) -> None:
    for name, more in (("a", []), ("b", ["--data.batch_size", "4"])):
        run([str(checkpoint), "--first", "10", "--draws", "40", "--run_dir", str(tmp_path / name), *more])
    with (tmp_path / "a/certificates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        assert (row["called"] == "abstains") == (float(row["bound"]) <= 0.5) == (float(row["radius"]) == 0)
        assert int(row["correct"]) == (row["called"] == row["label"])
    results = json.loads((tmp_path / "a/results.json").read_text())
    assert results["smoothed"]["accuracy"] == pytest.approx(sum(int(row["correct"]) for row in rows) / 6)
    assert (tmp_path / "a/figures/certified.png").is_file()
    assert (tmp_path / "a/certificates.csv").read_bytes() == (tmp_path / "b/certificates.csv").read_bytes()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--sigma", "0"], "--sigma: expected above 0"),
        (["--draws", "0"], "--draws: expected a whole number, 1 or more, got 0"),
        (["--first", "1.5"], "--first: expected a whole number, 1 or more, got 1.5"),
        (["--sigm", "0.1"], "no option --sigm; did you mean --sigma?"),
        (["other.ckpt"], "needs one checkpoint, got"),
        (["--data.root"], "--data.root: needs a value"),
        (["--alpha", "1"], "--alpha: expected a probability"),
        (["--data", "landmark-phantoms"], "--data"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, more: list[str], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run([str(checkpoint), *more, "--run_dir", str(tmp_path / "out")])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_a_checkpoint_one_line_says_so() -> None:
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        run(["--sigma", "0.1"])
