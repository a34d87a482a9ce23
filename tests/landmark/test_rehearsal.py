from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch.utils.data import DataLoader

from medzoo.core import create_model
from medzoo.core.cli import main
from medzoo.core.phantoms import ANATOMIES, radiograph
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.landmark.data.chest import Chest
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.rehearsal import Rehearsal, Rehearsals, _cut, drawn_anatomy
from medzoo.landmark.views import View

TINY: dict[str, Any] = {
    "match_size": 64,
    "patch": 64,
    "points": 4,
    "vgg_widths": [4, 4, 4, 4, 4],
    "vgg_depths": [1, 1, 1, 1, 1],
    "decoder_widths": [4, 4, 4, 4],
    "embedding": 4,
    "size": 32,
    "embed": 8,
    "heads": [1, 1, 2, 2],
    "match_batch": 4,
    "detect_batch": 4,
    "rehearsal": 0.5,
}


SMALL: dict[str, dict[str, Any]] = {
    "gu2net": {"size": (32, 32), "width": 2, "global_width": 4, "target": "softmax"},
    "heatmap": {"size": (32, 32), "width": 2, "decoder_width": 4},
    "han": {
        "size": (64, 64),
        "widths": (4, 4, 4, 4, 4),
        "attention_heads": (1, 1, 1, 1, 1),
        "windows": (2, 2, 1, 1),
        "topk": (1, 1, 1, 1),
        "mlp_ratios": (1, 1, 1, 1, 1),
        "neck": 4,
    },
}


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """Six chests in the public layout, of which only the shot has a label."""
    root = tmp_path / "data"
    (root / "pngs").mkdir(parents=True)
    (root / "labels").mkdir()
    for i in range(6):
        phantom = radiograph("chest", i, 48)
        Image.fromarray((phantom.image * 255).astype(np.uint8)).save(root / "pngs" / f"im{i}.png")
    rows = (radiograph("chest", 0, 48).landmarks / 48).clip(0, 1)
    (root / "labels" / "im0.txt").write_text("\n".join(["6", *(f"{x:.6f} {y:.6f}" for x, y in rows)]))
    return root


def fit(run: Path, data: list[str], **more: Any) -> dict[str, Any]:
    """Fit two epochs of each stage and return the last checkpoint of stage 2."""
    options = [p for k, v in {**TINY, **more}.items() for p in (f"--model.{k}", json.dumps(v))]
    steps = ["--model.match_steps", "2", "--model.detect_steps", "null", "--model.detect_epochs", "4"]
    where = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(run)]
    assert main(["fit", "--model", "uod", *data, *where, *options, *steps]) == 0
    return read_checkpoint(run / "checkpoints" / "last.ckpt")


def test_an_anatomy_is_known_by_its_landmarks_in_their_order() -> None:
    names = ANATOMIES["chest"].landmarks
    assert drawn_anatomy(list(names)) == "chest"
    assert drawn_anatomy(names[::-1]) is None


def test_draws_follow_torch_and_differ_from_each_other() -> None:
    draw = Rehearsal("chest", (48, 64))
    torch.manual_seed(3)
    image, points = draw(2)
    torch.manual_seed(3)
    again, _ = draw(2)
    assert image.shape == (2, 1, 48, 64)
    assert points.shape == (2, 6, 2)
    assert 0 <= image.min() <= image.max() <= 1
    torch.testing.assert_close(image, again, atol=0, rtol=0)
    assert (image[0] - image[1]).abs().mean() > 0.02


def test_landmarks_far_outside_are_unknown() -> None:
    torch.manual_seed(0)
    points = torch.cat([Rehearsal("chest", (48, 48))(8)[1] for _ in range(4)])
    known = points[~points.isnan()]
    assert points.isnan().any()
    assert -2.4 <= known.min() <= known.max() <= 50.4


def test_cuts_move_images_and_landmarks_alike() -> None:
    torch.manual_seed(1)
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(64.0), indexing="ij")
    points = torch.tensor([[[25.3, 36.8]]]).expand(8, -1, -1)
    dot = torch.exp(-((x - 25.3) ** 2 + (y - 36.8) ** 2) / 18).expand(8, 1, -1, -1)
    image, moved = _cut(dot, points)
    mass = image[:, 0] / image.sum(dim=(1, 2, 3))[:, None, None]
    centre = torch.stack([(mass * x).sum(dim=(1, 2)), (mass * y).sum(dim=(1, 2))], dim=-1)
    torch.testing.assert_close(centre, moved[:, 0], atol=0.05, rtol=0)
    assert (moved - points).abs().max() > 3


def test_after_the_rehearsal_own_labels_replace_those_of_stage_1(chest: Path, tmp_path: Path) -> None:
    data = ["--data", "chest", "--data.root", str(chest), "--data.shots", "[im0]"]
    data += ["--data.test_fraction", "0", "--data.allow_unlabelled", "true"]
    last = fit(tmp_path / "run", data, self_training=1.0)
    epoch, points, _ = last["own_labels"]
    assert epoch == 2
    first = json.loads((tmp_path / "run" / "stage1" / "pseudo_labels.json").read_text())["images"]["chest"]
    rows = np.loadtxt(chest / "labels" / "im0.txt", skiprows=1) * 48
    np.testing.assert_allclose(points["chest"]["im0"], rows, atol=1e-3)
    own, of_stage1 = points["chest"]["im1"].numpy(), np.array(list(first["im1"]["points"].values()))
    assert np.abs(own - of_stage1).max() > 0.1


def test_drawings_have_the_size_of_the_images_that_the_data_give(chest: Path) -> None:
    method = SimpleNamespace(hparams={"rehearsal": 0.5}, data=Chest(str(chest), size=[48, 64]))
    rehearsals = Rehearsals(cast(LandmarkMethod, method))
    rehearsals.prepare()
    assert [rehearsal.size for rehearsal in rehearsals.by_domain.values()] == [(48, 64)]


def test_a_view_moves_points_in_proportion_to_the_image() -> None:
    """A small image is not deformed more, whatever size the model has been set to."""
    moves = []
    for side in (32, 128):
        torch.manual_seed(0)
        points = torch.full((64, 1, 2), side / 2)
        _, moved = View(1.0)(torch.zeros(64, 1, side, side), points)
        assert moved is not None
        moves.append(float((moved - points).norm(dim=2).mean()) / side)
    assert moves[0] == pytest.approx(moves[1], rel=0.1)


class Counting(LightningModule):
    """Notes before each epoch which share of the training came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.shares = torch.nn.Parameter(torch.ones(1)), list[float]()

    def on_train_epoch_start(self) -> None:
        self.shares.append(Rehearsals(cast(LandmarkMethod, self)).share_done)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_shares_are_of_epochs_however_many_batches_make_a_step(batches: int, tmp_path: Path) -> None:
    """A rehearsal ends, and self-training begins, at the same epoch whether or not gradients are accumulated."""
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_epochs=4, accumulate_grad_batches=batches, default_root_dir=tmp_path, accelerator="cpu",
        enable_model_summary=False, **quiet,
    )  # fmt: skip
    counting = Counting()
    trainer.fit(counting, DataLoader(cast(Any, torch.zeros(5, 1))))
    assert counting.shares == [0, 0.25, 0.5, 0.75]


def test_phantoms_are_never_rehearsed(tmp_path: Path) -> None:
    few = ["--data.n_train", "3", "--data.n_test", "1", "--data.image_size", "48", "--data.domains", "[chest]"]
    last = fit(tmp_path / "run", few, self_training=1.0)
    assert "own_labels" not in last


@pytest.mark.parametrize("name", ["gu2net", "heatmap", "han"])
def test_a_supervised_method_sees_drawings_first_and_then_its_images(name: str, chest: Path) -> None:
    model = create_model(name, **SMALL[name], rehearsal=0.5, epochs=4, batch=3)
    seen: list[bool] = []
    original = model.rehearsals.draw
    model.rehearsals.draw = lambda batch: (drawn := original(batch), seen.append(drawn is not None))[0]  # type: ignore[assignment]
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    Trainer(max_epochs=4, **quiet).fit(model, Chest(str(chest), shots=["im0"], test_fraction=0, allow_unlabelled=True))
    assert seen == [True, True, False, False]


def test_a_share_is_from_0_to_1(chest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", "chest", "--data.root", str(chest), "--data.test_fraction", "0"]
    more = ["--data.shots", "[im0]", "--data.allow_unlabelled", "true", "--model.rehearsal", "1.5"]
    assert main(["fit", "--model", "gu2net", *data, *more, "--run_dir", str(chest / "run")]) == 2
    assert "--model.rehearsal: expected a share from 0 to 1, got 1.5" in capsys.readouterr().err
