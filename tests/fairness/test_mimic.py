"""MIMIC-CXR-JPG with attributes, on a made-up copy of its tables: the contract, and what the tables hide."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.io import write_image
from medzoo.core.testing import DataModuleContract
from medzoo.fairness.data.mimic import RACE, MimicGroups, race_of

LABELS = ["Edema", "Pneumonia"]


def make_fake(root: Path, patients: int = 12) -> Path:
    """Write a copy of the layout: each patient has two studies of a frontal view, the second of a lateral one too."""
    metadata, split, marks = (
        ["dicom_id,subject_id,study_id,ViewPosition,StudyDate"],
        ["dicom_id,study_id,subject_id,split"],
        ["subject_id,study_id,Edema,Pneumonia,No Finding"],
    )
    people = ["subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod"]
    stays = ["subject_id,hadm_id,race"]
    for i in range(patients):
        subject, part = f"1{i:07}", ("train", "train", "validate", "test")[i % 4]
        if i != 5:
            people.append(f"{subject},{'FM'[i % 2]},{40 + i},2150,2014 - 2016,")
        stays += [f"{subject},{h},{('UNKNOWN', 'WHITE', 'BLACK/AFRICAN AMERICAN')[(i + h) % 3]}" for h in range(2)]
        for k in range(2):
            study = f"5{i:06}{k}"
            marks.append(f"{subject},{study},{('1.0,', '-1.0,0.0')[k]},")
            for view in ("PA", "LATERAL")[: k + 1]:
                image = f"{study}-{view.lower()}"
                metadata.append(f"{image},{subject},{study},{view},{2155 + 10 * k}0203")
                split.append(f"{image},{study},{subject},{part}")
                path = root / f"files/p10/p{subject}/s{study}/{image}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng((i, k)).random((12, 10)).astype(np.float32)
                write_image(path.with_suffix(".png"), pixels)
                path.with_suffix(".png").rename(path)  # what a file is, is read from its first bytes
    for name, lines in (("metadata", metadata), ("split", split), ("chexpert", marks)):
        (root / f"mimic-cxr-2.0.0-{name}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (root / "patients.csv").write_text("\n".join(people))
    (root / "admissions.csv.gz").write_bytes(gzip.compress("\n".join(stays).encode()))
    return root


class TestMimicGroups(DataModuleContract):
    name: ClassVar[str] = "mimic-groups"
    damaged: ClassVar[str] = "files/p10/p10000000/s50000000/50000000-pa.jpg"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(make_fake(tmp_path / "data")), "labels": LABELS}


def test_attributes_labels_and_parts_are_those_of_the_tables(tmp_path: Path) -> None:
    data = MimicGroups(str(make_fake(tmp_path)), labels=LABELS)
    parts = data.cases.parts
    assert {part: len(items) for part, items in parts.items()} == {"train": 12, "val": 6, "test": 6}
    found = {item.id: item for items in parts.values() for item in items}
    assert len(found) == 24  # frontal views
    first, second = found["50000000-pa"], found["50000001-pa"]
    assert first.label == (1.0, 0.0)  # not mentioned
    assert isinstance(second.label, tuple)
    assert math.isnan(second.label[0])  # uncertain
    assert second.label[1] == 0
    assert first.groups == {"sex": 0, "age": 0, "race": RACE.index("white")}  # unknown at the first admission
    assert (first.groups["age"], second.groups["age"]) == (0, 0)  # 40 in 2150: 45 and 55
    assert found["50000101-pa"].groups["age"] == 1  # 50 in 2150: 65 at the second study
    assert found["50000100-pa"].groups["age"] == 0
    assert found["50000010-pa"].groups["race"] == RACE.index("white")  # white and black once each
    assert found["50000050-pa"].groups["sex"] == -1  # in no table of patients
    assert found["50000050-pa"].groups["age"] == -1
    assert first.patient == "10000000"
    assert data.leaks(None) == []
    assert sum(map(len, MimicGroups(str(tmp_path), labels=LABELS, lateral=True).cases.parts.values())) == 36
    blank = MimicGroups(str(tmp_path), labels=LABELS, blank="unknown").cases.parts["train"][0]
    assert isinstance(blank.label, tuple)
    assert math.isnan(blank.label[1])


def test_race_may_be_absent_or_have_its_older_name(tmp_path: Path) -> None:
    root = make_fake(tmp_path)
    packed = root / "admissions.csv.gz"
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()).replace(b",race", b",ethnicity", 1)))
    assert {i.groups["race"] for i in MimicGroups(str(root), labels=LABELS).cases.parts["train"]} > {0}
    packed.unlink()
    assert {i.groups["race"] for i in MimicGroups(str(root), labels=LABELS).cases.parts["train"]} == {-1}


@pytest.mark.parametrize(
    ("text", "race"),
    [
        ("WHITE - RUSSIAN", "white"), ("BLACK/CAPE VERDEAN", "black"), ("ASIAN - CHINESE", "asian"),
        ("HISPANIC/LATINO - CUBAN", "hispanic"), ("PORTUGUESE", "other"), ("UNABLE TO OBTAIN", None), ("", None),
        ("PATIENT DECLINED TO ANSWER", None),
    ],
)  # fmt: skip
def test_an_unknown_race_is_none_of_them(text: str, race: str | None) -> None:
    assert race_of(text) == (RACE.index(race) if race else -1)


def test_faults_of_tables_are_one_line(tmp_path: Path) -> None:
    root = make_fake(tmp_path)

    def fault(name: str, content: bytes) -> str:
        kept = (root / name).read_bytes()
        (root / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            MimicGroups(str(root), labels=LABELS).cases  # noqa: B018
        (root / name).write_bytes(kept)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    split = gzip.decompress((root / "mimic-cxr-2.0.0-split.csv.gz").read_bytes())
    assert "cannot be read" in fault("mimic-cxr-2.0.0-split.csv.gz", b"no gzip")
    assert "cannot be read" in fault("mimic-cxr-2.0.0-split.csv.gz", gzip.compress(split)[:-20])
    assert "split.csv.gz:2: has image '50000000-pa' of split 'tain'" in fault(
        "mimic-cxr-2.0.0-split.csv.gz", gzip.compress(split.replace(b"train", b"tain", 1))
    )
    assert "has image '../../x'" in fault(
        "mimic-cxr-2.0.0-split.csv.gz", gzip.compress(split + b"\n../../x,50000000,10000000,test")
    )
    assert "has no column 'gender'" in fault("patients.csv", b"subject_id,sex\n")
    assert "has the age 'forty'" in fault("patients.csv", b"subject_id,gender,anchor_age,anchor_year\n1,F,forty,2150\n")
    (root / "patients.csv").unlink()
    with pytest.raises(DataError, match=r"patients\.csv: does not exist, nor packed as \.gz"):
        MimicGroups(str(root), labels=LABELS).cases  # noqa: B018
