"""Every landmark data module keeps the contract; those of public data on tiny folders in their layout."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest

from medzoo.core.registry import specs
from medzoo.core.testing import DataModuleContract
from medzoo.landmark.echo.echonet import make_fake

Maker = Callable[..., Path]


class OneShot(DataModuleContract):
    hidden: ClassVar[tuple[str, ...]] = ("landmarks", "visible", "scale")


class TestLandmarkPhantoms(OneShot):
    name = "landmark-phantoms"
    tiny: ClassVar[dict[str, Any]] = {
        "domains": ["head", "chest"],
        "n_train": 5,
        "n_val": 2,
        "n_test": 4,
        "image_size": 24,
    }


class TestCephalometric(OneShot):
    name = "cephalometric"
    damaged = "RawImage/TrainingData/002.bmp"

    @pytest.fixture
    def options(self, head: Maker) -> dict[str, Any]:
        images = {
            "RawImage/TrainingData": range(1, 151),
            "RawImage/Test1Data": range(151, 301),
            "RawImage/Test2Data": range(301, 401),
        }
        root = head(images, {"junior": "400_junior", "senior": "400_senior"})
        return {"root": str(root), "val_fraction": 0.02}


class TestHandAtlas(OneShot):
    name = "hand-atlas"
    damaged = "jpg/3143.jpg"

    @pytest.fixture
    def options(self, hand: Maker) -> dict[str, Any]:
        return {"root": str(hand(8)), "val_fraction": 0.2}


class TestChest(OneShot):
    name = "chest"
    damaged = "pngs/p001.png"

    @pytest.fixture
    def options(self, chest: Maker) -> dict[str, Any]:
        return {"root": str(chest(10, patients=True)), "val_fraction": 0.2}


class TestJsrt(OneShot):
    name = "jsrt"
    damaged = "imgs/b.png"

    @pytest.fixture
    def options(self, jsrt: Maker) -> dict[str, Any]:
        return {"root": str(jsrt(list("abcdefgh")))}


class TestBmple(OneShot):
    name = "bmple"
    damaged = "train/10_384.png"

    @pytest.fixture
    def options(self, leg: Maker) -> dict[str, Any]:
        return {"root": str(leg(train=[2, 10, 118], test=[1, 2]))}


class TestLandmarkFolder(OneShot):
    name = "landmark-folder"
    damaged = "a1.png"

    @pytest.fixture
    def options(self, plain: Maker) -> dict[str, Any]:
        table = "id,a_x,a_y,b_x,b_y\n" + "".join(f"a{i},{5 + i},4,20,{9 + i}\n" for i in range(6))
        return {"root": str(plain(table)), "test_fraction": 0.34}


class TestLandmarkMix(OneShot):
    name = "landmark-mix"

    @pytest.fixture
    def options(self, chest: Maker) -> dict[str, Any]:
        drawn = {"data": "landmark-phantoms", "domains": ["head"], "n_train": 3, "n_test": 2, "image_size": 24}
        return {"parts": [{"data": "chest", "root": str(chest(8))}, drawn]}


class Clips(DataModuleContract):
    """Clips are measured by supervised methods."""


class TestPlaxPhantoms(Clips):
    name = "plax-phantoms"
    tiny: ClassVar[dict[str, Any]] = {"n_train": 3, "n_val": 1, "n_test": 4, "image_size": 24, "frames": 24}


class TestEchoFolder(Clips):
    name = "echo-folder"
    damaged = "clip1/003.png"

    @pytest.fixture
    def options(self, echo_clips: Maker) -> dict[str, Any]:
        return {"root": str(echo_clips()), "test_fraction": 0.4}


@pytest.mark.skipif(find_spec("av") is None, reason="the library av is not installed")
class TestEchoNetLVH(Clips):
    name = "echonet-lvh"
    damaged = "Batch1/0X00000000.avi"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(make_fake(tmp_path / "lvh"))}


def test_every_data_module_of_the_package_keeps_the_contract() -> None:
    kept = {cls.name for cls in (*OneShot.__subclasses__(), *Clips.__subclasses__())}
    assert kept == {spec.name for spec in specs("datamodule") if spec.package == "medzoo-landmark"}
