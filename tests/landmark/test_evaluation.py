"""What a test leaves for people: figures in the shape of the images, and the names of images that went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from medzoo.core.data.cache import ImageCache
from medzoo.core.geometry import apply
from medzoo.core.sample import collate
from medzoo.core.tasks.landmark_records import predictions, write_table
from medzoo.core.tasks.landmark_report import case_of
from medzoo.core.tasks.landmark_types import LandmarkOutputs
from medzoo.core.tasks.landmarks import LandmarkEvaluation
from medzoo.landmark.data import LandmarkFolder
from medzoo.landmark.data.datasets import Geometry, LabelledImages, UnlabelledImages
from medzoo.landmark.data.pictures import picture, pictures


@pytest.fixture
def wide(tmp_path: Path) -> LandmarkFolder:
    """Two images three times as wide as high, white at their one landmark."""
    root = tmp_path / "wide"
    root.mkdir()
    for name, (x, y) in {"a": (250, 20), "b": (40, 70)}.items():
        array = np.zeros((100, 300), np.uint8)
        array[y - 3 : y + 4, x - 3 : x + 4] = 255
        Image.fromarray(array).save(root / f"{name}.png")
    (root / "landmarks.csv").write_text("id,tip_x,tip_y,split\na,250,20,test\nb,40,70,test\n")
    return LandmarkFolder(str(root))


def batch_of(data: LandmarkFolder, size: tuple[int, int] = (32, 32)) -> dict[str, Any]:
    (source,) = data.sources
    keys = [(0, name) for name in ("a", "b")]
    images = UnlabelledImages([source.images], keys, Geometry(size), ImageCache(keys, size, 0, 0))
    samples = LabelledImages(images, data.sources)
    return collate([dict(samples[i]) for i in range(2)])


def evaluated(data: LandmarkFolder, points: Tensor, score: Tensor) -> tuple[LandmarkEvaluation, dict[str, Any]]:
    batch = batch_of(data)
    evaluation = LandmarkEvaluation(data.domains, picture=pictures(data), weights="best.ckpt")
    evaluation.update(batch, LandmarkOutputs(points, score, score[..., None, None], ("tip",)))
    return evaluation, {name: float(value) for name, value in evaluation.compute().items()}


def exact(batch: dict[str, Any]) -> Tensor:
    """The true points in pixels of the network's image."""
    return apply(batch["affine"], batch["landmarks"].double())


def test_a_wide_image_is_drawn_wide_with_its_points_in_place(wide: LandmarkFolder, tmp_path: Path) -> None:
    evaluation, found = evaluated(wide, exact(batch_of(wide)), torch.ones(2, 1))
    assert found["folder/mre_px"] == pytest.approx(0, abs=1e-4)
    for seen in evaluation.cases[0]:
        case = case_of(seen, *picture(wide.sources[0].images, seen.id))
        shown = np.asarray(case.image)
        assert shown.shape == (100, 300)
        for points in (case.predictions, case.truth):
            x, y = np.asarray(points)[0].round().astype(int)
            assert shown[y, x] == pytest.approx(1)
    evaluation.report(tmp_path)
    assert (tmp_path / "figures" / "folder_overlay.png").is_file()
    assert "\nWeights of best.ckpt.\n" in (tmp_path / "table.md").read_text()


def test_a_large_picture_is_made_smaller_in_its_own_shape(wide: LandmarkFolder) -> None:
    shown, affine = picture(wide.sources[0].images, "a", side=60)
    assert shown.shape == (20, 60)
    assert np.unravel_index(shown.argmax(), shown.shape)[::-1] == tuple(apply(affine, [[250.0, 20.0]])[0].round())


def test_images_with_lost_points_or_broken_scores_are_named(
    wide: LandmarkFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batch_of(wide)
    points, score = exact(batch), torch.tensor([[1.0], [torch.nan]])
    points[0] = torch.nan
    evaluation, found = evaluated(wide, points, score)
    evaluation.print_gaps()
    expected = [
        "folder: a point was not found in 1 of 2 images: a",
        "folder: a score is not finite in 1 of 2 images: b",
    ]
    assert capsys.readouterr().out.splitlines() == expected
    assert found["folder/missing"] == 1
    evaluation.report(tmp_path / "test")
    rows = (tmp_path / "test" / "samples.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["id", "a", "b"]
    outputs = LandmarkOutputs(points, score, score[..., None, None], ("tip",))
    answers = predictions(batch, outputs, "folder", pictures(wide))
    write_table([answer.record for answer in answers], tmp_path / "predict")
    assert capsys.readouterr().out.splitlines() == expected


def test_sound_images_are_not_named(wide: LandmarkFolder, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation, _ = evaluated(wide, exact(batch_of(wide)), torch.ones(2, 1))
    evaluation.print_gaps()
    assert capsys.readouterr().out == ""


def test_an_image_of_which_nothing_was_found_is_the_worst_of_the_figure(wide: LandmarkFolder) -> None:
    points = exact(batch_of(wide))
    points[1] = torch.inf
    evaluation, _ = evaluated(wide, points, torch.ones(2, 1))
    assert [seen.error for seen in evaluation.cases[0]] == [pytest.approx(0, abs=1e-4), np.inf]
