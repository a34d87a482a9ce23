"""Every data module of anomalies keeps the contract; those that read files on tiny folders in their layout."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import nibabel
import numpy as np
import pytest

from medzoo.anomaly.signals.files import wfdb
from medzoo.core.data.wants import Wants
from medzoo.core.io import write_image
from medzoo.core.phantoms.ct import CtPhantom, lung_ct
from medzoo.core.phantoms.ecg import twelve_leads
from medzoo.core.registry import specs
from medzoo.core.testing import DataModuleContract


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).random((20, 24)).astype(np.float32))


@cache  # drawing takes longer than all that is done with it
def ct(seed: int, kinds: tuple[str, ...] = ()) -> CtPhantom:
    return lung_ct(seed, (16, 20, 24), kinds)


def volume(path: Path, values: np.ndarray, kind: type = np.int16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.astype(kind).T, np.diag([9.0, 9.0, 9.0, 1.0])), path)


class Images(DataModuleContract):
    hidden: ClassVar[tuple[str, ...]] = ("mask", "label")


class Volumes(DataModuleContract):
    asked = Wants(size=(8, 8, 8), batch_size=2)
    hidden: ClassVar[tuple[str, ...]] = ("mask", "label")


class TestTexturePhantoms(Images):
    name = "texture-phantoms"
    tiny: ClassVar[dict[str, Any]] = {"train": 3, "test": 2, "pixels": 24}


class TestMvtecFolder(Images):
    name = "mvtec-folder"
    damaged = "bolt/train/good/001.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        for number, category in enumerate(("bolt", "nut")):
            for i in range(4):
                picture(tmp_path / category / "train" / "good" / f"{i:03}.png", 100 * number + i)
            for i, kind in enumerate(("good", "bent")):
                picture(tmp_path / category / "test" / kind / "000.png", 100 * number + 20 + i)
            mask = np.zeros((20, 24), np.float32)
            mask[4:9, 6:15] = 1
            (tmp_path / category / "ground_truth" / "bent").mkdir(parents=True)
            write_image(tmp_path / category / "ground_truth" / "bent" / "000_mask.png", mask)
        return {"root": str(tmp_path), "shots": 2}


class TestClassFolder(Images):
    name = "class-folder"
    damaged = "train/NORMAL/NORMAL-1-1.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        for i in range(4):
            picture(tmp_path / "oct" / "train" / "NORMAL" / f"NORMAL-{i}-1.png", i)
            kind = "DRUSEN" if i % 2 else "NORMAL"
            picture(tmp_path / "oct" / "test" / kind / f"{kind}-{10 + i}-1.png", 10 + i)
        return {"root": str(tmp_path / "oct"), "shots": 3}


class TestNpzImages(Images):
    name = "npz-images"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        rng, arrays = np.random.default_rng(0), {}
        for part, count in (("train", 6), ("test", 4)):
            arrays[f"{part}_images"] = rng.integers(0, 255, (count, 20, 20), np.uint8)
            arrays[f"{part}_labels"] = np.arange(count)[:, None] % 2
        np.savez(tmp_path / "mnist.npz", **arrays)
        return {"root": str(tmp_path / "mnist.npz"), "shots": 2}


class TestCtPhantom(Volumes):
    name = "ct-phantom"
    tiny: ClassVar[dict[str, Any]] = {"train": 2, "val": 1, "test": 1, "size": [16, 20, 24], "confounders": False}


class TestNiftiVolumes(Volumes):
    name = "nifti-volumes"
    damaged = "healthy/h1.nii.gz"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        for index in range(4):
            volume(tmp_path / "healthy" / f"h{index}.nii.gz", ct(index).image)
        made = ct(9, ("nodule",))
        volume(tmp_path / "image" / "p.nii.gz", made.image)
        volume(tmp_path / "mask" / "p.nii.gz", made.lesions > 0, np.uint8)
        return {"root": str(tmp_path), "val": 1, "spacing": 12.0}


class TestCovidCt(Volumes):
    name = "covid-ct"
    damaged = "Infection_Mask/coronacases_001.nii.gz"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        made = ct(9, ("nodule",))
        window = (made.image.clip(-1250, 250) + 1250) / 1500 * 255
        for name, values in (("coronacases_001", made.image), ("radiopaedia_4_85506_1", window)):
            volume(tmp_path / "COVID-19-CT-Seg_20cases" / f"{name}.nii.gz", values)
            volume(tmp_path / "Infection_Mask" / f"{name}.nii.gz", made.lesions > 0, np.uint8)
            volume(tmp_path / "Lung_Mask" / f"{name}.nii.gz", made.lungs, np.uint8)
        for index in range(3):
            volume(tmp_path / "own" / f"h{index}.nii.gz", ct(index).image)
        return {"root": str(tmp_path), "healthy": str(tmp_path / "own"), "val": 1}


class Signals(DataModuleContract):
    asked = Wants(size=(12, 320), batch_size=2, rate=100.0)
    hidden: ClassVar[tuple[str, ...]] = ("mask", "label", "kind")


class TestEcgPhantoms(Signals):
    name = "ecg-phantoms"
    tiny: ClassVar[dict[str, Any]] = {"train": 3, "val": 2, "test": 4, "kinds": ["pvc", "lbbb"]}


class TestEcgDiagnoses(Signals):
    name = "ecg-diagnoses"
    tiny: ClassVar[dict[str, Any]] = {"normal": 3, "train": 4, "val": 2, "test": 4}


class TestUcrBeats(Signals):
    name = "ucr-beats"
    damaged = "Beats_TRAIN.tsv"
    asked = Wants(size=(1, 160), batch_size=2, rate=160.0)

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        for part, kinds in (("TRAIN", (1, 1, 1, 1, 1, 2)), ("TEST", (1, 2, 3))):
            table = np.column_stack([kinds, rng.normal(size=(len(kinds), 140))])
            np.savetxt(tmp_path / f"Beats_{part}.tsv", table, delimiter="\t")
        return {"root": str(tmp_path)}


@pytest.mark.skipif(find_spec("wfdb") is None, reason="the library wfdb is not installed")
class TestWfdbFolder(Signals):
    name = "wfdb-folder"
    damaged = "p2.hea"
    asked = Wants(size=(2, 320), batch_size=2, rate=100.0)

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        library = wfdb()
        for number in range(6):
            made = twelve_leads(number, seconds=12.0, rate=250.0)
            symbols = ["N"] * len(made.beats)
            symbols[2] = "V" if number % 2 else "N"
            name = f"p{number}"
            fine = {"fs": 250, "units": ["mV"] * 2, "sig_name": ["MLII", "V5"], "fmt": ["16"] * 2}
            library.wrsamp(name, p_signal=made.signal[[1, 10]].T.astype(float), write_dir=str(tmp_path), **fine)
            library.wrann(name, "atr", made.beats, symbols, write_dir=str(tmp_path))
        return {"root": str(tmp_path), "val_fraction": 0.2}


def test_every_data_module_of_the_package_keeps_the_contract() -> None:
    kept = {cls.name for base in (Images, Volumes, Signals) for cls in base.__subclasses__()}
    assert kept == {spec.name for spec in specs("datamodule") if spec.package == "medzoo-anomaly"}
