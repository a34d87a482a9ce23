"""Readers of public data sets on small trees in their exact layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from medzoo.core.errors import DataError
from medzoo.core.registry import find, load
from medzoo.core.testing.data import DataModuleContract
from medzoo.vlm.data.boxed import ChestXDet10, MsCxr
from medzoo.vlm.data.fakes import (
    FAKES,
    make_chestxdet10,
    make_chestxray14,
    make_chexpert,
    make_kaggle,
    make_mimic,
    make_ms_cxr,
    make_open_i,
    make_padchest,
    write_table,
)
from medzoo.vlm.data.labelled import ChestXray14, CheXpert, PadChest
from medzoo.vlm.data.layouts import FINDINGS
from medzoo.vlm.data.mimic import MimicCxr, report_text
from medzoo.vlm.data.module import ReportDataModule
from medzoo.vlm.data.open_i import LABELS, OpenI


class Public(DataModuleContract):
    make: ClassVar[Callable[[Path], Path]]
    hidden: ClassVar[tuple[str, ...]] = ("label", "text")
    trains = True

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(type(self).make(tmp_path / "set"))}


class TestMimic(Public):
    name: ClassVar[str] = "mimic-cxr"
    make = staticmethod(make_mimic)
    damaged: ClassVar[str] = "files/p10/p10000034/s50414271/02aa804e-bde0afdd-0004.jpg"


class TestOpenI(Public):
    name: ClassVar[str] = "open-i"
    make = staticmethod(make_open_i)
    damaged: ClassVar[str] = "images/CXR3_1_IM-0003-3001.png"


def cases(kind: type[ReportDataModule], root: Path, **options: Any) -> dict[str, list[Any]]:
    found = kind(str(root), **options)
    assert found.check() == []
    return {part: list(items) for part, items in found.cases.parts.items()}


def test_mimic_has_the_official_parts_and_two_sections_of_a_report(tmp_path: Path) -> None:
    root = make_mimic(tmp_path / "m")
    data = MimicCxr(str(root))
    parts = {part: [item.id[-4:] for item in items] for part, items in data.cases.parts.items()}
    assert parts == {"train": ["0000"], "val": ["0004", "0005"], "test": ["0006", "0007"]}
    assert {name[-4:] for name in data.found.textless} == {"0001", "0002"}  # no report; neither section
    text = data.found.texts["02aa804e-bde0afdd-0000"]
    assert text == "There is a small left pleural effusion. No pneumothorax. 1. Small effusion."
    assert data.pools["02aa804e-bde0afdd-0000"][-2:] == ("There is pleural effusion", "There is no pneumothorax")
    (item,) = data.cases.parts["train"]
    assert (item.patient, item.label[FINDINGS.index("Pleural Effusion")]) == ("10000032", 1.0)
    assert math.isnan(item.label[FINDINGS.index("Edema")])
    assert item.label[FINDINGS.index("Fracture")] == 0
    assert data.classes == FINDINGS
    assert len(FINDINGS) == 13  # «No Finding» is none
    assert len(cases(MimicCxr, root, frontal=False)["train"]) == 2
    assert report_text("IMPRESSION: Normal.\n FINDINGS: Clear lungs.") == "Normal.\nClear lungs."


def test_open_i_has_eighteen_labels_by_parts_of_words_in_either_packing(tmp_path: Path) -> None:
    parts = cases(OpenI, make_open_i(tmp_path / "x"), val_fraction=0.0, test_fraction=0.0)
    assert len(parts["train"]) == 14  # number 4 has no text
    labels = {name for name, value in zip(LABELS, parts["train"][0].label, strict=True) if value}
    assert labels == {"Granuloma", "Calcified Granuloma", "Atelectasis"}
    assert {item.patient for item in parts["train"]} == {f"CXR{n}" for n in (1, 2, 3, 5, 6, 7, 8)}
    data = OpenI(str(make_kaggle(tmp_path / "k")), val_fraction=0.0, test_fraction=0.0)
    assert data.found.textless == ("2_IM-0002-Frontal.dcm",)
    first = data.cases.parts["train"][0]
    assert data.found.texts[first.id] == "The heart is normal. No mass since ."  # XXXX hides a date, in either packing
    assert {name for name, value in zip(LABELS, first.label or (), strict=True) if value} == {"Opacity", "Mass"}
    assert len(cases(OpenI, tmp_path / "k", frontal=False, val_fraction=0.0, test_fraction=0.0)["train"]) == 14


def test_padchest_keeps_physicians_frontal_images_and_stretches_their_range(tmp_path: Path) -> None:
    root = make_padchest(tmp_path / "p")
    data = PadChest(str(root))
    assert data.classes == ("nodule", "pleural effusion")
    assert [item.id for item in data.cases.parts["test"]] == ["2168_0", "2168_1", "2168_3", "2168_7"]
    assert [item.label for item in data.cases.parts["test"]] == [(1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0)]
    image, _ = data.cases.parts["test"][0].load()
    assert (image.min(), image.max()) == (0, 1)
    asked, _ = PadChest(str(root), predict=str(root / "0")).predicted[0].load()
    assert (asked.min(), asked.max()) == (0, 1)
    path = root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    path.write_text(path.read_text().replace("['normal']", "__import__('os')"))
    (fault,) = PadChest(str(root)).check()
    assert "expected a list" in str(fault)


def test_chexpert_takes_the_table_s_part_and_keeps_unknown_labels_unknown(tmp_path: Path) -> None:
    root = make_chexpert(tmp_path / "renamed")
    found = cases(CheXpert, root)["test"]
    assert [item.id for item in found][:1] == ["valid/patient64541/study1/view1_frontal"]
    assert len(found) == 5
    assert math.isnan(found[0].label[FINDINGS.index("Edema")])
    assert math.isnan(found[0].label[FINDINGS.index("Pneumonia")])
    assert cases(CheXpert, root, uncertain=1)["test"][0].label[FINDINGS.index("Edema")] == 1
    (fault,) = CheXpert(str(root), part="test").check()
    assert "groundtruth.csv" in str(fault)
    (root / "valid.csv").write_text((root / "valid.csv").read_text().replace("small/valid", "small/../../valid"))
    (fault,) = CheXpert(str(root)).check()
    assert "leads out of" in str(fault)


def test_chestxray14_is_its_official_test_list(tmp_path: Path) -> None:
    root = make_chestxray14(tmp_path / "c")
    data = ChestXray14(str(root))
    assert data.classes == ("Effusion", "Mass", "Nodule")
    found = data.cases.parts["test"]
    assert [item.id for item in found] == [
        "00000000_001",
        "00000001_000",
        "00000001_001",
        "00000002_000",
        "00000002_001",
    ]
    assert found[0].label == (0.0, 1.0, 1.0)
    assert found[2].label == (0.0, 0.0, 0.0)
    (root / "test_list.txt").unlink()
    (fault,) = ChestXray14(str(root)).check()
    assert "put the official list" in str(fault)


@pytest.mark.parametrize("name", FAKES)
def test_missing_images_are_an_error_or_counted(name: str, tmp_path: Path) -> None:
    root = FAKES[name](tmp_path / "s")
    kind = load(find("datamodule", name))
    data = kind(str(root))
    items = [item for items in data.cases.parts.values() for item in items]
    Path(items[-1].path).unlink()
    (fault,) = kind(str(root)).check()
    assert isinstance(fault, DataError)
    assert "is missing, as 1 of" in str(fault)
    data = kind(str(root), skip_missing=True)
    assert data.check() == []
    assert data.summary()[-1].endswith(f"1 images are missing: {items[-1].id}")


@pytest.mark.parametrize("name", FAKES)
def test_another_folder_costs_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    kind = load(find("datamodule", name))
    for root in ("empty", "absent"):
        (fault,) = kind(str(tmp_path / root)).check()
        assert isinstance(fault, DataError)
        assert "\n" not in str(fault)
        assert fault.cure


def test_a_report_with_entities_is_refused(tmp_path: Path) -> None:
    root = make_open_i(tmp_path / "x")
    (root / "ecgen-radiology/3.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    (fault,) = OpenI(str(root)).check()
    assert "3.xml" in str(fault)


def test_a_damaged_table_costs_one_line(tmp_path: Path) -> None:
    root = make_mimic(tmp_path / "m")
    path = root / "mimic-cxr-2.0.0-split.csv.gz"
    path.write_bytes(path.read_bytes()[:60])
    (fault,) = MimicCxr(str(root)).check()
    assert "cannot be read as a table" in str(fault)
    write_table(path, [{"dicom_id": 1, "study_id": 2}])
    (fault,) = MimicCxr(str(root)).check()
    assert "has no column subject_id, split" in str(fault)


def test_chestxdet10_has_boxes_for_1024_pixels_whatever_the_images_have(tmp_path: Path) -> None:
    root = make_chestxdet10(tmp_path / "d")
    data = ChestXDet10(str(root), size=16)
    assert data.classes == ("Effusion", "Mass")
    found = data.cases.parts["test"]
    assert [item.id for item in found] == ["36199", "36200", "36201", "36202", "36203"]
    assert [item.label for item in found[:3]] == [(1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]
    samples: Any = data.test_dataloader().dataset
    boxes = [samples[index]["boxes"] for index in range(3)]  # images of 24 x 20
    assert boxes[0] == {"Effusion": [(0, 10, pytest.approx(10.977, abs=1e-3), pytest.approx(18.98, abs=1e-2))],
                        "Mass": [(12, 0, pytest.approx(22.977, abs=1e-3), pytest.approx(8.98, abs=1e-2))]}  # fmt: skip
    assert set(boxes[1]) == {"Mass"}
    assert boxes[2] == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not a list of images in JSON"),
        ('{"a": 1}', "is not a list of images in JSON"),
        ('[{"file_name": "a.png", "syms": ["Mass"], "boxes": []}]', "has the entry"),
        ('[{"file_name": "a.png", "syms": ["Mass"], "boxes": [[1, 2, 3]]}]', "has the entry"),
        ('[{"file_name": "../../a.png", "syms": [], "boxes": []}]', "leads out of"),
    ],
)
def test_a_list_of_boxes_in_another_form_costs_one_line(content: str, said: str, tmp_path: Path) -> None:
    root = make_chestxdet10(tmp_path / "d")
    (root / "test.json").write_text(content)
    (fault,) = ChestXDet10(str(root)).check()
    assert said in str(fault)
    assert "\n" not in str(fault)


def test_ms_cxr_gathers_phrases_and_boxes_of_an_image(tmp_path: Path) -> None:
    root = make_ms_cxr(tmp_path / "m")
    data = MsCxr(str(root), size=16)
    assert data.classes == ("Edema", "Pleural Effusion", "Pneumonia")
    found = data.cases.parts["test"]
    assert [(item.id[-4:], item.patient) for item in found] == [
        ("0000", "10000032"), ("0004", "10000034"), ("0006", "10000035"),
    ]  # fmt: skip
    assert data.found.texts[found[1].id] == "right basal opacity. mild edema"
    assert [str(value) for value in found[1].label or ()] == ["1.0", "nan", "1.0"]  # of effusion nothing is known
    samples: Any = data.test_dataloader().dataset
    assert samples[0]["boxes"] == {"Pleural Effusion": [(12, 10, 17, 14), (1, 10, 6, 14)]}  # 24 x 20 for 2400 x 2000
    path = root / "MS_CXR_Local_Alignment_v1.0.0.csv"
    path.write_text(path.read_text().replace("2400", "wide"))
    (fault,) = MsCxr(str(root)).check()
    assert "expected six numbers" in str(fault)
