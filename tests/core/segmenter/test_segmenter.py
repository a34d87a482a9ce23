"""The segmentation task and its plain method: the contract of the house, geometry, Dice by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.geometry import resize_affine
from medzoo.core.io import write_image
from medzoo.core.phantoms.blobs import blob
from medzoo.core.segmenter.data.folder import MasksFolder
from medzoo.core.segmenter.data.phantoms import MaskPhantoms
from medzoo.core.segmenter.losses import mask_loss
from medzoo.core.segmenter.module import Segmenter
from medzoo.core.segmenter.network import UNet
from medzoo.core.tasks.segmentation import SegmentationEvaluation, SegmentationOutputs, network_masks, original_masks
from medzoo.core.testing import DataModuleContract, ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved

TINY: dict[str, Any] = {"data.train": 12, "data.val": 4, "data.test": 6, "data.pixels": 16}


class TestSegmenter(ModelContract):
    name: ClassVar[str] = "segmenter"
    tiny: ClassVar[dict[str, Any]] = {"model.width": 4, "model.depth": 2, "model.size": 16, "model.batch": 4, **TINY}
    resumes: ClassVar[int | None] = 2


class TestMaskPhantoms(DataModuleContract):
    name: ClassVar[str] = "mask-phantoms"
    tiny: ClassVar[dict[str, Any]] = {"train": 8, "val": 4, "test": 4, "pixels": 16}


def folder(root: Path, count: int = 12) -> Path:
    """Images of two sizes, each with its mask; two images a patient, the sex of one of them unknown."""
    lines = ["id,patient,sex"]
    for i in range(count):
        image, mask = blob((9, i), 16 + 8 * (i % 2))
        ending = ("", "_mask", "_segmentation")[i % 3]
        for name, array in ((f"images/n{i:02}.png", image), (f"masks/n{i:02}{ending}.png", mask.astype(np.float32))):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(root / name, array)
        lines.append(f"n{i:02}.png,p{i // 2},{('f', 'm', 'f', '')[i % 4]}")
    (root / "cases.csv").write_text("\n".join(lines))
    return root


class TestMasksFolder(DataModuleContract):
    name: ClassVar[str] = "masks-folder"
    damaged: ClassVar[str] = "images/n03.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, object]:
        return {"root": str(folder(tmp_path / "data")), "groups": ["sex"], "test_fraction": 0.3}


def test_a_folder_gives_masks_patients_and_groups_as_they_are(tmp_path: Path) -> None:
    data = MasksFolder(str(folder(tmp_path)), groups=["sex"], size=16)
    items = {item.id: item for items in data.parts.values() for item in items}
    assert len(items) == 12
    assert data.group_names == {"sex": ("f", "m")}
    assert [items[f"n{i:02}"].groups["sex"] for i in range(4)] == [0, 1, 0, -1]
    for i in range(12):
        image, mask = items[f"n{i:02}"].load()
        drawn, truth = blob((9, i), 16 + 8 * (i % 2))
        assert np.array_equal(mask, truth)
        assert np.abs(image - drawn).max() < 0.003
    owners = [{item.patient for item in items} for items in data.parts.values()]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    assert data.check() == []


def test_a_folder_with_faults_costs_one_line_each(tmp_path: Path) -> None:
    root = folder(tmp_path)
    write_image(root / "masks/n00.png", np.zeros((5, 5), dtype=np.float32))
    (found,) = MasksFolder(str(root), size=16).check()
    assert "has another size" in str(found)
    (root / "masks/n00.png").unlink()
    (found,) = MasksFolder(str(root), size=16).check()
    assert "has no mask of 1 images: n00" in str(found)
    (found,) = MasksFolder(str(root / "images"), size=16).check()
    assert "has no folder images" in str(found)
    (root / "cases.csv").unlink()
    with pytest.raises(DataError, match=r"cases\.csv: does not exist"):
        MasksFolder(str(folder(tmp_path / "b")).replace("/b", "/b/none"), groups=["sex"])._known({})


@pytest.mark.parametrize(
    ("line", "said"),
    [("N05.png,p1,f", "there is no image 'N05'"), ("n05,p1,f", "repeats image n05")],
)
def test_a_row_of_no_image_or_of_one_twice_is_a_fault_for_its_patient_would_be_lost(
    line: str, said: str, tmp_path: Path
) -> None:
    root = folder(tmp_path)
    with (root / "cases.csv").open("a") as file:
        file.write(f"\n{line}")
    (found,) = MasksFolder(str(root), size=16).check()
    assert said in str(found)
    assert "cases.csv:14:1" in str(found)


@pytest.mark.parametrize("table", ["cases.csv", "metadata.csv"])
def test_patients_are_found_under_the_names_that_other_folders_take(table: str, tmp_path: Path) -> None:
    root = folder(tmp_path)
    text = (root / "cases.csv").read_text()
    (root / "cases.csv").unlink()
    (root / table).write_text(text.replace("patient", "Subject_ID"))
    data = MasksFolder(str(root), size=16, test_fraction=0.3)
    owners = [{item.patient for item in items} for items in data.parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 6
    (root / table).unlink()
    (root / "metadata.csv").write_text("id,patient\nother,p\n")
    (found,) = MasksFolder(str(root), size=16).check()
    assert "metadata.csv: names no image of the folders" in str(found)


def test_a_mask_without_an_image_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path)
    write_image(root / "masks/n77.png", np.zeros((16, 16), dtype=np.float32))
    (found,) = MasksFolder(str(root), size=16).check()
    assert "masks: has 1 masks of no image: n77" in str(found)


def test_the_same_image_in_two_parts_is_a_fault_for_a_test_on_it_shows_nothing(tmp_path: Path) -> None:
    root = folder(tmp_path)
    parts = MasksFolder(str(root), size=16).parts
    known, tested = parts["train"][0], parts["test"][0]
    for own, other in ((known.path, tested.path), (known.mask, tested.mask)):
        Path(other).write_bytes(Path(own).read_bytes())
    (found,) = MasksFolder(str(root), size=16).check()
    assert str(found).startswith(f"{tested.path}: is, byte for byte, the training image {known.path}")


def test_images_in_folders_below_are_named_and_not_left_out_in_silence(tmp_path: Path) -> None:
    root = folder(tmp_path)
    write_image(root / "images/p9/n99.png", np.zeros((16, 16), dtype=np.float32))
    (found,) = MasksFolder(str(root), size=16).check()
    assert "images one level down that are not read, such as p9/n99.png" in str(found)


def test_a_mask_in_jpeg_is_refused_for_its_borders_are_not_exact(tmp_path: Path) -> None:
    root = folder(tmp_path)
    with Image.open(root / "masks/n00.png") as mask:
        mask.save(root / "masks/n00.jpg")
    (root / "masks/n00.png").unlink()
    (found,) = MasksFolder(str(root), size=16).check()
    assert "n00.jpg: is a JPEG file" in str(found)


def batch_of(masks: list[np.ndarray], size: tuple[int, int]) -> dict[str, Any]:
    names = [f"i{k}" for k in range(len(masks))]
    return {
        "id": names,
        "path": [""] * len(masks),
        "source": ["s"] * len(masks),
        "patient": ["p0", "p0", *names[2:]][: len(masks)],
        "mask": [torch.from_numpy(m) for m in masks],
        "affine": torch.stack([torch.from_numpy(resize_affine(m.shape[::-1], size[::-1])) for m in masks]),
        "original_size": torch.tensor([m.shape[::-1] for m in masks]),
    }


def test_masks_are_compared_in_the_pixels_of_the_originals() -> None:
    """A network at half the size in one direction; what it is shown comes back as it was."""
    mask = np.zeros((24, 16), dtype=bool)
    mask[8:16, 4:12] = True
    batch = batch_of([mask], (12, 16))
    target = network_masks(batch, (12, 16))
    assert target.shape == (1, 1, 12, 16)
    assert target.sum().item() == pytest.approx(mask.sum() / 2, rel=0.02)
    (found,) = original_masks(batch, SegmentationOutputs(20 * (target - 0.5)))
    assert found.shape == mask.shape
    assert np.array_equal(found.numpy(), mask)


def test_dice_of_each_image_and_their_mean_by_hand() -> None:
    whole = np.zeros((4, 4), dtype=bool)
    whole[:2] = True
    empty = np.zeros((4, 4), dtype=bool)
    logits = torch.full((4, 1, 4, 4), -5.0)
    logits[0, 0, :1] = 5.0  # half of the structure: Dice 2 · 4 / (4 + 8)
    logits[3, 0, 0, 0] = 5.0  # one pixel where there is nothing
    evaluation = SegmentationEvaluation()
    batch = batch_of([whole, whole, empty, empty], (4, 4))
    evaluation.update(batch, SegmentationOutputs(logits))
    found = evaluation.compute()
    assert [row["dice"] for row in evaluation.rows()] == pytest.approx([2 / 3, 0, 1, 0])
    assert found["s/dice"] == pytest.approx((2 / 3 + 1) / 4)
    assert found["s/dice_low"] < found["s/dice"] < found["s/dice_high"]


def test_the_loss_is_cross_entropy_and_dice_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    z, t = torch.randn(3, 1, 5, 4, generator=generator), (torch.rand(3, 1, 5, 4, generator=generator) < 0.4).float()
    for own, logits, target in zip(mask_loss(z, t), z, t, strict=True):
        p = logits.sigmoid()
        overlap = (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
        assert own.item() == pytest.approx((F.binary_cross_entropy(p, target) + 1 - overlap).item(), rel=1e-5)
    assert mask_loss(20 * (t - 0.5), t).max() < 0.01


def test_the_bottleneck_has_the_features_that_the_docstring_says() -> None:
    network, seen = UNet(3, 4, 3), []
    network.bottleneck.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    assert network(torch.rand(2, 3, 16, 24)).shape == (2, 1, 16, 24)
    assert seen == [(2, 32, 2, 3)]


def test_scanner_b_shows_the_same_structures_less() -> None:
    image, mask = blob((0, 1), 32)
    other, same = blob((0, 1), 32, contrast=0.4, offset=0.2)
    assert np.array_equal(mask, same)
    inside, outside = (lambda x: x[mask].mean() - x[~mask].mean(), lambda x: x[~mask].mean())
    assert inside(other) < 0.6 * inside(image)
    assert outside(other) > outside(image) + 0.15
    data = MaskPhantoms(train=20, val=5, test=10)
    assert [sum(item.groups["scanner"] for item in data.parts[p]) for p in ("train", "val", "test")] == [4, 1, 2]


def test_wrong_options_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"--model\.size \[30, 32\]: expected multiples of 16"):
        Segmenter(size=[30, 32])
    with pytest.raises(ConfigError, match=r"--data\.minority: expected 0 to 1, got 2"):
        MaskPhantoms(minority=2)


def test_recipes_have_their_settings_and_sizes() -> None:
    assert packaged(["segmenter"]) == {"segmenter/default"}
    assert resolved("segmenter/default")["model"]["init_args"]["width"] == 8
    counted = sum(p.numel() for p in UNet(1, 8, 3).parameters())
    assert parameters("segmenter/default", channels=1) == counted == 122_321
