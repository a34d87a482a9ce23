"""Readers of public data sets on small trees in their exact layout."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from medzoo.core.errors import DataError
from medzoo.core.registry import find, load
from medzoo.core.testing.data import DataModuleContract
from medzoo.vlm.data.labelled import ChestXray14, CheXpert, PadChest
from medzoo.vlm.data.layouts import CHEXPERT
from medzoo.vlm.data.mimic import MimicCxr, report_text
from medzoo.vlm.data.module import ReportDataModule
from medzoo.vlm.data.open_i import LABELS, OpenI

REPORT = """                                 FINAL REPORT
 INDICATION:  ___ year old with cough.

 FINDINGS:  There is a small left pleural
 effusion.  No pneumothorax.

 IMPRESSION:
 1. Small effusion.
"""


def picture(path: Path, seed: int, bits: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (20, 24)).astype(np.uint8)
    Image.fromarray(values if bits == 8 else values.astype(np.uint16) * 16).save(path)  # 12 of 16 bits


def table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def make_mimic(root: Path) -> Path:
    meta, split, labels = [], [], []
    for number in range(8):
        subject, study, image = 10000032 + number // 2, 50414267 + number, f"02aa804e-bde0afdd-{number:04}"
        inner = root / "files/p10" / f"p{subject}" / f"s{study}"
        picture(inner / f"{image}.jpg", number)
        if number != 1:
            (inner.parent / f"s{study}.txt").write_text(REPORT if number != 2 else "FINAL REPORT\n WET READ: none.")
        keys = {"dicom_id": image, "subject_id": subject, "study_id": study}
        meta.append({**keys, "ViewPosition": "LATERAL" if number == 3 else ("AP", "PA")[number % 2]})
        split.append({**keys, "split": ("train", "train", "validate", "test")[number // 2]})
        labels.append(
            {**keys, **dict.fromkeys(CHEXPERT, ""), "Pleural Effusion": "1.0", "Edema": "-1.0", "Fracture": "0.0"}
        )
    for name, rows in (("metadata", meta), ("split", split), ("chexpert", labels)):
        table(root / f"mimic-cxr-2.0.0-{name}.csv.gz", rows)
    return root


def make_open_i(root: Path) -> Path:
    for number in range(1, 9):
        names = [f"CXR{number}_1_IM-{number:04}-{view}" for view in (3001, 4001)]
        for name in names:
            picture(root / "images" / f"{name}.png", number)
        impression = (
            f'<AbstractText Label="IMPRESSION">No acute disease XXXX {number}.</AbstractText>' if number != 4 else ""
        )
        terms = "<automatic>Calcified Granuloma</automatic><automatic>atelectases</automatic>" if number % 2 else ""
        parents = "".join(f'<parentImage id="{name}"/>' for name in names)
        (root / "ecgen-radiology").mkdir(exist_ok=True)
        (root / "ecgen-radiology" / f"{number}.xml").write_text(
            f'<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>'
            f'<AbstractText Label="FINDINGS"/>{impression}</Abstract></Article></MedlineCitation>'
            f"<MeSH><major>normal</major>{terms}</MeSH>{parents}</eCitation>"
        )
    return root


def make_kaggle(root: Path) -> Path:
    reports, views = [], []
    for number in range(1, 9):
        text = (
            {"findings": "The heart is normal.", "impression": "No mass."}
            if number != 2
            else {"findings": "", "impression": ""}
        )
        reports.append(
            {"uid": number, "MeSH": "normal", "Problems": "Opacity;Massive" if number == 1 else "normal", **text}
        )
        for view in ("Frontal", "Lateral"):
            name = f"{number}_IM-{number:04}-{view}.dcm.png"
            picture(root / "images_normalized" / name, number)
            views.append({"uid": number, "filename": name, "projection": view})
    table(root / "indiana_reports.csv", reports)
    table(root / "indiana_projections.csv", views)
    return root


def make_padchest(root: Path) -> Path:
    rows = []
    for number in range(8):
        name = f"2168_{number}.png"
        picture(root / str(number % 2) / name, number, bits=16)
        labels = ("['pleural effusion', ' nodule']", "['normal']", "nan")[number % 3]
        view, how = "L" if number == 4 else "PA", "RNN_model" if number == 6 else "Physician"
        rows.append({"": number, "ImageID": name, "ImageDir": number % 2, "PatientID": f"p{number // 2}",
                     "Projection": view, "MethodLabel": how, "Labels": labels})  # fmt: skip
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", rows)
    return root


def make_chexpert(root: Path) -> Path:
    rows = []
    for number in range(6):
        view = "lateral" if number == 5 else "frontal"
        inner = f"valid/patient{64541 + number // 2}/study1/view{number + 1}_{view}.jpg"
        picture(root / inner, number)
        rows.append({"Path": f"CheXpert-v1.0-small/{inner}", "Sex": "Male", **dict.fromkeys(CHEXPERT, "0.0"),
                     "Edema": "-1.0", "Pneumonia": ""})  # fmt: skip
    table(root / "valid.csv", rows)
    return root


def make_chestxray14(root: Path) -> Path:
    rows = []
    for number in range(6):
        name = f"{number // 2:08}_{number % 2:03}.png"
        picture(root / f"images_00{1 + number % 2}/images" / name, number)
        found = ("No Finding", "Mass|Nodule", "Effusion")[number % 3]
        rows.append({"Image Index": name, "Finding Labels": found, "Follow-up #": 0, "Patient ID": number // 2})
    table(root / "Data_Entry_2017_v2020.csv", rows)
    (root / "test_list.txt").write_text("\n".join(row["Image Index"] for row in rows[1:]))
    return root


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
    assert (item.patient, item.label[CHEXPERT.index("Pleural Effusion")]) == ("10000032", 1.0)
    assert math.isnan(item.label[CHEXPERT.index("Edema")])
    assert item.label[CHEXPERT.index("Fracture")] == 0
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
    path = root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    path.write_text(path.read_text().replace("['normal']", "__import__('os')"))
    (fault,) = PadChest(str(root)).check()
    assert "expected a list" in str(fault)


def test_chexpert_takes_the_table_s_part_and_keeps_unknown_labels_unknown(tmp_path: Path) -> None:
    root = make_chexpert(tmp_path / "renamed")
    found = cases(CheXpert, root)["test"]
    assert [item.id for item in found][:1] == ["valid/patient64541/study1/view1_frontal"]
    assert len(found) == 5
    assert math.isnan(found[0].label[CHEXPERT.index("Edema")])
    assert math.isnan(found[0].label[CHEXPERT.index("Pneumonia")])
    assert cases(CheXpert, root, uncertain=1)["test"][0].label[CHEXPERT.index("Edema")] == 1
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


SETS = {
    "mimic-cxr": make_mimic, "open-i": make_open_i, "padchest": make_padchest, "chexpert": make_chexpert,
    "chestxray14": make_chestxray14,
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_missing_images_are_an_error_or_counted(name: str, tmp_path: Path) -> None:
    root = SETS[name](tmp_path / "s")
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


@pytest.mark.parametrize("name", SETS)
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
    table(path, [{"dicom_id": 1, "study_id": 2}])
    (fault,) = MimicCxr(str(root)).check()
    assert "has no column subject_id, split" in str(fault)
