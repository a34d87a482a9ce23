"""Public sets with labels and without reports in English, to test on: PadChest, CheXpert, ChestX-ray14."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path

from medzoo.core.classifier.data.items import Loaded
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError, DataError, check_choice
from medzoo.vlm.data.layouts import (
    CHEXPERT,
    FINDINGS,
    PublicFiles,
    PublicOptions,
    Row,
    below,
    known_classes,
    mark,
    read_rows,
    stretched,
)

_PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
_FRONTAL = ("PA", "AP", "AP_horizontal")


class PadChest(PublicFiles):
    """PadChest: one table, and 16-bit PNG files in folders `0` to `54`; to test on images that physicians labelled.

    Values fill a part of 16 bits only and are stretched from each image's least to its largest. Reports are in Spanish
    and are not read.

    Args:
        root: Folder with the table and the folders of images.
        table: Name of the table.
        least: Fewest images of a label that is kept.
        frontal: Take frontal views alone.
        physician: Take images that physicians labelled alone; the others' labels were read by a network.
        common: Options of all public data sets.
    """

    layout = f"{_PADCHEST} and folders 0 to 54 of PNG files"

    def __init__(
        self,
        root: str,
        table: str = _PADCHEST,
        least: int = 1,
        frontal: bool = True,
        physician: bool = True,
        **common: Unpack[PublicOptions],
    ) -> None:
        super().__init__(root, **common)
        self._table, self._least, self._frontal, self._physician = table, least, frontal, physician

    def load(self, path: Path) -> Callable[[], Loaded]:
        """Return what reads an image."""
        return partial(stretched, path)

    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Read the table; an image without labels is left out."""
        path = root / self._table
        columns = ["ImageID", "ImageDir", "PatientID", "Projection", "MethodLabel", "Labels"]
        kept = []
        for row in read_rows(path, columns):
            views = not self._frontal or row["Projection"] in _FRONTAL
            if views and (not self._physician or row["MethodLabel"] == "Physician"):
                kept.append((row, _names(path, row["Labels"])))
        classes = known_classes([names for _, names in kept], self._least)
        classes = tuple(name for name in classes if name != "normal")
        return classes, [
            Row(
                row["ImageID"].removesuffix(".png"),
                below(root, path, f"{row['ImageDir']}/{row['ImageID']}"),
                label=tuple(float(name in names) for name in classes),
                patient=row["PatientID"],
                part="test",
            )
            for row, names in kept
            if names
        ]


def _names(path: Path, text: str) -> list[str]:
    """Return the labels in a cell, which holds a list as Python writes it."""
    if text in ("", "nan"):
        return []
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(path, f"has the labels {text[:40]!r}, expected a list", "get the table anew") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(path, f"has the labels {text[:40]!r}, expected a list of names", "get the table anew")
    return [name.strip() for name in names if name.strip()]


class CheXpert(PublicFiles):
    """CheXpert: `train.csv`, `valid.csv` or the labels of its 500 test patients, to test on.

    Args:
        root: Folder with the table, such as `CheXpert-v1.0-small`; the paths in it begin with the name of this folder.
        part: Which table: valid, train, or test (`groundtruth.csv`).
        uncertain: What −1 counts as: empty (not known), 0 or 1.
        frontal: Take frontal views alone.
        common: Options of all public data sets.
    """

    layout = "train.csv, valid.csv, train/ and valid/"

    def __init__(
        self,
        root: str,
        part: str = "valid",
        uncertain: int | None = None,
        frontal: bool = True,
        **common: Unpack[PublicOptions],
    ) -> None:
        super().__init__(root, **common)
        check_choice("data.part", part, ("valid", "train", "test"))
        if uncertain not in (None, 0, 1):
            raise ConfigError(f"--data.uncertain: expected 0 or 1, got {uncertain}")
        self._part_name, self._frontal = part, frontal
        self._uncertain = float("nan") if uncertain is None else float(uncertain)

    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Read the table."""
        path = root / ("groundtruth.csv" if self._part_name == "test" else f"{self._part_name}.csv")
        found = []
        for row in read_rows(path, ["Path", *CHEXPERT]):
            inner = Path(row["Path"])
            # The table names the folder that it lies in, whatever that is called here.
            inner = Path(*inner.parts[1:]) if inner.parts[:1] and inner.parts[0].startswith("CheXpert") else inner
            if self._frontal and "frontal" not in inner.name:
                continue
            label = tuple(mark(row[name], self._uncertain) for name in FINDINGS)
            patient = next((part for part in inner.parts if part.startswith("patient")), "")
            name = "/".join(inner.with_suffix("").parts)
            found.append(Row(name, below(root, path, str(inner)), label=label, patient=patient, part="test"))
        return FINDINGS, found


class ChestXray14(PublicFiles):
    """ChestX-ray14 of the NIH: its table, and the images of the official test list, to test on.

    Args:
        root: Folder with `Data_Entry_2017.csv` (or `_v2020`), `test_list.txt` and `images_001/images/` to `images_012/`
            (or `images/`).
        common: Options of all public data sets.
    """

    layout = "Data_Entry_2017.csv, test_list.txt and images_001/images/ to images_012/images/"

    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Read the table and the list."""
        tables = sorted(root.glob("Data_Entry_2017*.csv"))
        path = tables[0] if tables else root / "Data_Entry_2017.csv"
        rows = read_rows(path, ["Image Index", "Finding Labels", "Patient ID"])
        names = [[name for name in row["Finding Labels"].split("|") if name != "No Finding"] for row in rows]
        classes = known_classes(names, 1)
        chosen = root / "test_list.txt"
        if not chosen.is_file():
            raise DataError(chosen, "does not exist", "put the official list of the test there")
        tested = set(chosen.read_text(encoding="utf8").split())
        folders = [root / "images", *sorted(root.glob("images_*/images"))]
        files = {path.name: path for folder in folders if folder.is_dir() for path in folder.iterdir()}
        return classes, [
            Row(
                row["Image Index"].removesuffix(".png"),
                files.get(row["Image Index"], folders[-1] / row["Image Index"]),
                label=tuple(float(name in own) for name in classes),
                patient=row["Patient ID"],
                part="test",
            )
            for row, own in zip(rows, names, strict=True)
            if row["Image Index"] in tested
        ]
