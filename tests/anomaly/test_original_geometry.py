"""Pixels are ranked in the geometry of the images: figures do not depend on the size that a network sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medzoo.anomaly.data.categories import Labelled
from medzoo.anomaly.data.images import MvtecFolder
from medzoo.anomaly.images.fewshot import FewShot
from medzoo.core.errors import DataError
from medzoo.core.io import write_image
from medzoo.core.sample import MaskSample, collate
from medzoo.core.tasks.anomaly import AnomalyEvaluation


class Brightness(FewShot[None]):
    """A model that is exact: its score of a position is how bright the picture is there."""

    def reference(self, supports: Tensor) -> None:
        return None

    def coarse_scores(self, reference: None, images: Tensor) -> tuple[Tensor, None]:
        return images.mean(1), None


def dataset(root: Path, bright: str) -> Path:
    """Write one category: defects of three widths, which the pictures show as they are or as a slope."""
    slope = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))
    for i in range(2):
        write_image_at(root / "c" / "train" / "good" / f"{i}.png", slope * (0.5 + i / 10))
    write_image_at(root / "c" / "test" / "good" / "0.png", np.zeros((64, 96), np.float32))
    for i, (start, width) in enumerate(((21, 3), (48, 16), (66, 1))):
        mask = np.zeros((64, 96), np.float32)
        mask[8:40, start : start + width] = 1
        write_image_at(root / "c" / "test" / "line" / f"{i}.png", mask if bright == "truth" else slope)
        write_image_at(root / "c" / "ground_truth" / "line" / f"{i}_mask.png", mask)
    return root


def write_image_at(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, array)


def seen_by(root: Path, size: tuple[int, int], kind: type[Brightness] = Brightness) -> AnomalyEvaluation:
    data = MvtecFolder(str(root), size=list(size))
    samples = Labelled(data.tested, size)
    model = kind(list(size), 4, 0.0, 0.05)
    model.supports, model.thresholds = {"c": data.supports()["c"]}, {"c": 0.5}
    evaluation = AnomalyEvaluation(["c"])
    batch = collate([samples[i] for i in range(len(samples))], MaskSample)
    evaluation.update(batch, model.outputs(batch))
    return evaluation


def figures(root: Path, size: tuple[int, int]) -> dict[str, float]:
    pixels = seen_by(root, size).pixels["c"]
    found = {key: float(value) for key, value in pixels.compute().items()}
    return found | {"pixels": sum(len(part) for part in pixels.weights)}


@pytest.mark.parametrize("bright", ["slope", "truth"])
def test_pixel_figures_do_not_depend_on_the_networks_size(tmp_path: Path, bright: str) -> None:
    root = dataset(tmp_path, bright)
    sizes = ((64, 96), (32, 48), (32, 32), (16, 24))
    found = [figures(root, size) for size in sizes]
    assert {row["pixels"] for row in found} == {4 * 64 * 96}
    for row in found[1:]:
        for key in ("pixel_auroc", "aupro"):
            assert row[key] == pytest.approx(found[0][key], abs=0.02), (key, found)
    if bright == "truth":
        assert found[0] == pytest.approx({"pixel_auroc": 1, "aupro": 1, "pixels": 4 * 64 * 96})


def test_masks_of_images_of_several_sizes_make_a_batch(tmp_path: Path) -> None:
    root = dataset(tmp_path, "truth")
    for folder, name in (("test/line", "9.png"), ("ground_truth/line", "9_mask.png")):
        write_image_at(root / "c" / folder / name, np.eye(40, 50, dtype=np.float32))
    samples = Labelled(MvtecFolder(str(root)).tested, (32, 48))
    batch = collate([samples[i] for i in range(len(samples))], MaskSample)
    assert {tuple(mask.shape) for mask in batch["mask"]} == {(64, 96), (40, 50)}
    assert figures(root, (32, 48))["pixels"] == 4 * 64 * 96 + 40 * 50


def test_pictures_have_the_shape_of_the_images_and_maps_and_masks_their_place(tmp_path: Path) -> None:
    """The network sees a square, people see the image."""
    root = dataset(tmp_path, "truth")
    pictures = seen_by(root, (64, 64)).pictures["c"]
    assert len(pictures) == 3
    for image, heat, mask in pictures:
        assert (image.shape, heat.shape) == ((3, 64, 96), (64, 96))
        assert mask is not None
        assert mask.shape == (64, 96)
        centres = [np.argwhere(part).mean(0) for part in (image[0] > 0.3, heat > 0.3, mask)]
        for centre in centres[:2]:
            assert np.abs(centre - centres[2]).max() < 1


def test_a_large_picture_is_drawn_smaller_in_its_own_shape(tmp_path: Path) -> None:
    root = dataset(tmp_path, "truth")
    tall = np.zeros((1536, 512), np.float32)
    tall[:300] = 1
    write_image_at(root / "c/test/line/9.png", tall)
    write_image_at(root / "c/ground_truth/line/9_mask.png", tall)
    image, heat, mask = seen_by(root, (32, 32)).pictures["c"][-1]
    assert mask is not None
    assert image.shape[1:] == heat.shape == mask.shape == (512, 171)


class Broken(Brightness):
    """A model whose score overflows where a picture is bright."""

    def coarse_scores(self, reference: None, images: Tensor) -> tuple[Tensor, None]:
        return torch.where(images.mean(1) > 0.99, torch.nan, images.mean(1)), None


def test_an_image_without_a_finite_score_is_named(tmp_path: Path) -> None:
    root = dataset(tmp_path, "truth")
    with pytest.raises(DataError) as caught:
        seen_by(root, (64, 96), Broken)
    line = root / "c" / "test" / "line"
    assert str(caught.value).startswith(
        f"{line / '0.png'}: gets a score that is not finite, as 2 more: {line / '1.png'}, {line / '2.png'}; "
    )


def test_a_support_without_a_finite_score_is_named() -> None:
    supports = torch.rand(3, 3, 16, 16) * 0.5
    supports[1] = 1
    model = Broken([16, 16], 4, 0.0, 0.05)
    with pytest.raises(DataError, match=r"^b\.png: gets a score that is not finite; look at its values"):
        model.threshold_of(supports, ["a.png", "b.png", "c.png"])
