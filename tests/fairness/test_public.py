"""Public data sets on made-up copies of their layouts: the contract, and the traps that others have fallen into."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.io import write_image
from medzoo.core.testing import DataModuleContract
from medzoo.fairness.data.public import CheXpert, Fitzpatrick17k, Ham10000, Isic2019

NINE = ("inflammatory", "benign dermal", "malignant melanoma")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).random((3, 12, 10)).astype(np.float32))


def fitzpatrick(root: Path) -> Path:
    lines = ["md5hash,fitzpatrick_scale,label,nine_partition_label,three_partition_label,qc"]
    for i in range(24):
        three = "malignant" if i % 3 == 2 else "benign"
        note = "3 Wrongly labelled" if i == 5 else ""
        lines.append(f"h{i:02},{(-1, 1, 3, 4, 6)[i % 5]},x,{NINE[i % 3]},{three},{note}")
        if i != 7:
            picture(root / f"images/h{i:02}.png", i)
    (root / "fitzpatrick17k.csv").write_text("\n".join(lines))
    return root


def isic(root: Path) -> Path:
    truth, about = ["image,MEL,NV,BCC,UNK"], ["image,age_approx,anatom_site_general,lesion_id,sex"]
    for i in range(24):
        name = f"ISIC_{i:07}" + ("_downsampled" if i % 2 else "")
        truth.append(f"{name},{','.join(f'{float(i % 3 == k)}' for k in range(3))},0.0")
        about.append(
            f"{name},{('', '60.0', '55.0')[i % 3]},head,{f'L{i // 2}' if i < 20 else ''},{('male', '')[i % 2]}"
        )
        picture(root / f"ISIC_2019_Training_Input/{name}.png", i)
    (root / "ISIC_2019_Training_GroundTruth.csv").write_text("\n".join(truth))
    (root / "ISIC_2019_Training_Metadata.csv").write_text("\n".join(about))
    return root


def ham(root: Path) -> Path:
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for i in range(24):
        kind, sex = ("nv", "bcc", "mel")[i % 3], ("male", "female", "unknown")[i % 3]
        lines.append(f"HAM_{i // 2},ISIC_{i:07},{kind},histo,{('60.0', '', '40.0')[i % 3]},{sex},back")
        picture(root / f"HAM10000_images_part_{1 + i % 2}/ISIC_{i:07}.png", i)
    (root / "HAM10000_metadata.csv").write_text("\n".join(lines))
    return root


def chexpert(root: Path) -> Path:
    head = "Path,Sex,Age,Frontal/Lateral,AP/PA,Cardiomegaly,Edema"
    for part, count in (("train", 18), ("valid", 6)):
        lines = [head]
        for i in range(count):
            view = "lateral" if i % 3 == 2 else "frontal"
            place = f"{part}/patient{i // 3 + 100 * (part == 'valid'):05}/study1/view{i % 3}_{view}.png"
            sex = "Unknown" if i == 0 else ("Female", "Male")[i % 2]
            marks = ("1.0,0.0", "-1.0,", ",1.0")[i % 3]
            lines.append(f"CheXpert-v1.0-small/{place},{sex},{50 + i},{view.capitalize()},AP,{marks}")
            picture(root / place, i + 100 * (part == "valid"))
        (root / f"{part}.csv").write_text("\n".join(lines))
    return root


class TestFitzpatrick17k(DataModuleContract):
    name: ClassVar[str] = "fitzpatrick17k"
    damaged: ClassVar[str] = "images/h03.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(fitzpatrick(tmp_path / "data"))}


class TestIsic2019(DataModuleContract):
    name: ClassVar[str] = "isic2019"
    damaged: ClassVar[str] = "ISIC_2019_Training_Input/ISIC_0000004.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(isic(tmp_path / "data"))}


class TestHam10000(DataModuleContract):
    name: ClassVar[str] = "ham10000"
    damaged: ClassVar[str] = "HAM10000_images_part_1/ISIC_0000004.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(ham(tmp_path / "data"))}


class TestCheXpert(DataModuleContract):
    name: ClassVar[str] = "chexpert-groups"
    damaged: ClassVar[str] = "train/patient00001/study1/view0_frontal.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(chexpert(tmp_path / "data")), "labels": ["Cardiomegaly", "Edema"]}


def items(data: Any) -> dict[str, Any]:
    return {item.id: item for part in data.cases.parts.values() for item in part}


def test_fitzpatrick_leaves_out_what_it_must_and_says_so(tmp_path: Path) -> None:
    data = Fitzpatrick17k(str(fitzpatrick(tmp_path)))
    found = items(data)
    assert len(found) == 22
    assert [found[f"h{i:02}"].groups["skin"] for i in range(5)] == [-1, 0, 0, 1, 1]
    assert [found[f"h{i:02}"].groups["fitzpatrick"] for i in range(5)] == [-1, 0, 2, 3, 5]
    assert data.classes == tuple(sorted(NINE))
    assert data.summary()[-1] == "left out: 1 rows without an image, 1 that are wrongly labelled"
    binary = Fitzpatrick17k(str(tmp_path), target="malignant")
    assert [items(binary)[f"h{i:02}"].label for i in range(3)] == [0, 0, 1]
    table = tmp_path / "fitzpatrick17k.csv"
    table.write_text(table.read_text().replace("fitzpatrick_scale", "fitzpatrick"))  # older copies
    assert len(items(Fitzpatrick17k(str(tmp_path)))) == 22


def test_isic_splits_by_lesion_and_takes_no_missing_sex_for_a_sex(tmp_path: Path) -> None:
    data = Isic2019(str(isic(tmp_path)))
    found = items(data)
    assert data.classes == ("MEL", "NV", "BCC")
    assert found["ISIC_0000000"].groups == {"sex": 1, "age": -1}
    assert found["ISIC_0000001_downsampled"].groups == {"sex": -1, "age": 1}  # exactly 60 is of the older group
    assert (found["ISIC_0000000"].patient, found["ISIC_0000022"].patient) == ("L0", "")
    assert data.leaks(None) == []
    (tmp_path / "ISIC_2019_Training_Input/ISIC_0000002.png").unlink()
    with pytest.raises(DataError, match="lacks 1 images of its table, such as ISIC_0000002"):
        Isic2019(str(tmp_path)).cases  # noqa: B018


def test_ham_knows_the_word_unknown_and_counts_bcc_as_malignant(tmp_path: Path) -> None:
    found = items(Ham10000(str(ham(tmp_path)), target="malignant"))
    assert [found[f"ISIC_{i:07}"].label for i in range(3)] == [0, 1, 1]
    assert [found[f"ISIC_{i:07}"].groups["sex"] for i in range(3)] == [1, 0, -1]
    assert [found[f"ISIC_{i:07}"].groups["age"] for i in range(3)] == [1, -1, 0]
    table = tmp_path / "HAM10000_metadata.csv"
    table.write_text(table.read_text() + "\n" + table.read_text().splitlines()[1])
    with pytest.raises(DataError, match="ISIC_0000000"):
        Ham10000(str(tmp_path)).cases  # noqa: B018


def test_chexpert_tells_uncertain_from_unmentioned(tmp_path: Path) -> None:
    root = str(chexpert(tmp_path))
    data = CheXpert(root, labels=["Cardiomegaly", "Edema"])
    found = items(data)
    assert len(found) == 16  # no lateral view
    assert found["train/patient00000/study1/view0_frontal"].label == (1.0, 0.0)
    first, second = found["train/patient00000/study1/view1_frontal"].label
    assert (math.isnan(first), second) == (True, 0.0)
    blank = items(CheXpert(root, labels=["Cardiomegaly", "Edema"], blank="unknown"))
    assert all(map(math.isnan, blank["train/patient00000/study1/view1_frontal"].label))
    assert found["train/patient00000/study1/view0_frontal"].groups == {"sex": -1, "age": 0}
    assert len(items(CheXpert(root, labels=["Cardiomegaly", "Edema"], lateral=True))) == 24
    assert {item.id.split("/")[0] for item in data.cases.parts["test"]} == {"valid"}
    assert {item.patient for item in data.cases.parts["val"]}.isdisjoint(i.patient for i in data.cases.parts["train"])
