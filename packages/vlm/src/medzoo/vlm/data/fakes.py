"""Made-up trees in the layouts of the public data sets, to try readers without the data: a few images of noise each."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from medzoo.vlm.data.layouts import CHEXPERT

_REPORT = """                                 FINAL REPORT
 INDICATION:  ___ year old with cough.

 FINDINGS:  There is a small left pleural
 effusion.  No pneumothorax.

 IMPRESSION:
 1. Small effusion.
"""


def _picture(path: Path, seed: int, bits: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (20, 24)).astype(np.uint8)
    Image.fromarray(values if bits == 8 else values.astype(np.uint16) * 16).save(path)  # 12 of 16 bits


def write_table(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write rows as `.csv` or `.csv.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def make_mimic(root: Path) -> Path:
    """Write MIMIC-CXR-JPG: eight images of four patients, one of them lateral, one study without a report."""
    meta: list[dict[str, object]] = []
    split: list[dict[str, object]] = []
    labels: list[dict[str, object]] = []
    for number in range(8):
        subject, study, image = 10000032 + number // 2, 50414267 + number, f"02aa804e-bde0afdd-{number:04}"
        inner = root / "files/p10" / f"p{subject}" / f"s{study}"
        _picture(inner / f"{image}.jpg", number)
        if number != 1:
            (inner.parent / f"s{study}.txt").write_text(_REPORT if number != 2 else "FINAL REPORT\n WET READ: none.")
        keys = {"dicom_id": image, "subject_id": subject, "study_id": study}
        meta.append({**keys, "ViewPosition": "LATERAL" if number == 3 else ("AP", "PA")[number % 2]})
        split.append({**keys, "split": ("train", "train", "validate", "test")[number // 2]})
        labels.append(
            {**keys, **dict.fromkeys(CHEXPERT, ""), "Pleural Effusion": "1.0", "Edema": "-1.0", "Fracture": "0.0"}
        )
    for name, rows in (("metadata", meta), ("split", split), ("chexpert", labels)):
        write_table(root / f"mimic-cxr-2.0.0-{name}.csv.gz", rows)
    return root


def make_open_i(root: Path) -> Path:
    """Write Open-I as XML: eight reports with two images each, one without a text."""
    for number in range(1, 9):
        names = [f"CXR{number}_1_IM-{number:04}-{view}" for view in (3001, 4001)]
        for name in names:
            _picture(root / "images" / f"{name}.png", number)
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
    """Write Open-I in Kaggle's packing."""
    reports: list[dict[str, object]] = []
    views: list[dict[str, object]] = []
    for number in range(1, 9):
        text = (
            {"findings": "The heart is normal.", "impression": "No mass since XXXX."}
            if number != 2
            else {"findings": "", "impression": ""}
        )
        reports.append(
            {"uid": number, "MeSH": "normal", "Problems": "Opacity;Massive" if number == 1 else "normal", **text}
        )
        for view in ("Frontal", "Lateral"):
            name = f"{number}_IM-{number:04}-{view}.dcm.png"
            _picture(root / "images_normalized" / name, number)
            views.append({"uid": number, "filename": name, "projection": view})
    write_table(root / "indiana_reports.csv", reports)
    write_table(root / "indiana_projections.csv", views)
    return root


def make_padchest(root: Path) -> Path:
    """Write PadChest: eight images of 16 bits, one lateral, one labelled by a network."""
    rows: list[dict[str, object]] = []
    for number in range(8):
        name = f"2168_{number}.png"
        _picture(root / str(number % 2) / name, number, bits=16)
        labels = ("['pleural effusion', ' nodule']", "['normal']", "nan")[number % 3]
        view, how = "L" if number == 4 else "PA", "RNN_model" if number == 6 else "Physician"
        rows.append({"": number, "ImageID": name, "ImageDir": number % 2, "PatientID": f"p{number // 2}",
                     "Projection": view, "MethodLabel": how, "Labels": labels})  # fmt: skip
    write_table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", rows)
    return root


def make_chexpert(root: Path) -> Path:
    """Write CheXpert's validation part: six images, one of them lateral."""
    rows: list[dict[str, object]] = []
    for number in range(6):
        view = "lateral" if number == 5 else "frontal"
        inner = f"valid/patient{64541 + number // 2}/study1/view{number + 1}_{view}.jpg"
        _picture(root / inner, number)
        rows.append({"Path": f"CheXpert-v1.0-small/{inner}", "Sex": "Male", **dict.fromkeys(CHEXPERT, "0.0"),
                     "Edema": "-1.0", "Pneumonia": ""})  # fmt: skip
    write_table(root / "valid.csv", rows)
    return root


def make_chestxray14(root: Path) -> Path:
    """Write ChestX-ray14: six images, five of them on the list of the test."""
    rows: list[dict[str, object]] = []
    for number in range(6):
        name = f"{number // 2:08}_{number % 2:03}.png"
        _picture(root / f"images_00{1 + number % 2}/images" / name, number)
        found = ("No Finding", "Mass|Nodule", "Effusion")[number % 3]
        rows.append({"Image Index": name, "Finding Labels": found, "Follow-up #": 0, "Patient ID": number // 2})
    write_table(root / "Data_Entry_2017_v2020.csv", rows)
    (root / "test_list.txt").write_text("\n".join(str(row["Image Index"]) for row in rows[1:]))
    return root


def make_chestxdet10(root: Path) -> Path:
    """Write ChestX-Det10: five images of 2,048 pixels' proportions, boxes as for 1,024, and one without a finding."""
    rows: list[dict[str, object]] = []
    for number in range(5):
        name = f"{36_199 + number}.png"
        _picture(root / "test_data" / name, number)
        found = (["Effusion", "Mass"], ["Mass"], [])[number % 3]
        boxes = [[0, 512, 511, 1023], [512, 0, 1023, 511]][2 - len(found) :]
        rows.append({"file_name": name, "syms": found, "boxes": boxes})
    root.mkdir(parents=True, exist_ok=True)
    (root / "test.json").write_text(json.dumps(rows))
    return root


def make_ms_cxr(root: Path) -> Path:
    """Write MS-CXR beside its images of MIMIC-CXR-JPG: three images, four phrases, five boxes."""
    make_mimic(root)
    rows: list[dict[str, object]] = []
    for number, found, text, x in (
        (0, "Pleural Effusion", "small left pleural effusion", 1200),
        (0, "Pleural Effusion", "small left pleural effusion", 100),
        (4, "Pneumonia", "right basal opacity", 0),
        (4, "Edema", "mild edema", 0),
        (6, "Pneumonia", "left basal opacity", 600),
    ):
        box = {"x": x, "y": 1000, "w": 600, "h": 500, "image_width": 2400, "image_height": 2000}
        name = f"02aa804e-bde0afdd-{number:04}"
        rows.append({"category_name": found, "label_text": text, "dicom_id": name, **box})
    write_table(root / "MS_CXR_Local_Alignment_v1.0.0.csv", rows)
    return root


FAKES: dict[str, Callable[[Path], Path]] = {
    "mimic-cxr": make_mimic,
    "open-i": make_open_i,
    "padchest": make_padchest,
    "chexpert": make_chexpert,
    "chestxray14": make_chestxray14,
    "chestxdet10": make_chestxdet10,
    "ms-cxr": make_ms_cxr,
}
"""A maker for each public layout, by the name of its data module; `make_kaggle` is Open-I's other packing."""
