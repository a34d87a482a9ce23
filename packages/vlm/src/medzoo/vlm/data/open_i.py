"""Open-I, the chest radiographs of Indiana University, in either packing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from medzoo.core.data.options import Unpack
from medzoo.core.errors import DataError
from medzoo.core.io.listing import image_files
from medzoo.vlm.data.layouts import PublicFiles, PublicOptions, Row, read_rows

LABELS = {
    name: (name.lower().replace("_", " "),)
    for name in (
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
        "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "Fracture", "Opacity", "Lesion",
        "Calcified Granuloma", "Granuloma",
    )
} | {"Infiltration": ("infiltration", "infiltrate"), "Atelectasis": ("atelectasis", "atelectases")}  # fmt: skip
"""The 18 labels of TorchXRayVision and CARZero, and what in the automatic terms of an image stands for each."""
_LARGEST = 2**20


class OpenI(PublicFiles):
    """Open-I: reports as `ecgen-radiology/1.xml` beside the PNG files, or Kaggle's two tables.

    An image has a label where a term of it contains the label's name, as in TorchXRayVision and CARZero: «opacity» is
    found in every kind of opacity, «granuloma» in «calcified granuloma», «mass» in «massive».

    Args:
        root: Folder with the reports and the images, or with `indiana_reports.csv`, `indiana_projections.csv` and the
            images.
        frontal: Of Kaggle's packing, take frontal views alone; the other does not say which these are.
        common: Options of all public data sets.
    """

    layout = "ecgen-radiology/*.xml and PNG files, or indiana_reports.csv, indiana_projections.csv and images"

    def __init__(
        self,
        root: str,
        frontal: bool = True,
        **common: Unpack[PublicOptions],
    ) -> None:
        super().__init__(root, **common)
        self._frontal = frontal

    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Read whichever packing there is."""
        places = [folder for folder in (root, *sorted(root.iterdir())) if folder.is_dir()]
        known = {
            name: Path(path) for folder in reversed(places) for name, path in image_files(folder, (".png",)).items()
        }
        if (root / "indiana_reports.csv").is_file():
            return tuple(LABELS), self._tables(root, known)
        reports = sorted(p for folder in places for p in folder.glob("*.xml"))
        if not reports:
            raise DataError(root, "has neither indiana_reports.csv nor *.xml", f"expected {self.layout}")
        return tuple(LABELS), [row for path in reports for row in _of_file(path, root, known)]

    def _tables(self, root: Path, known: dict[str, Path]) -> list[Row]:
        columns = ["uid", "MeSH", "Problems", "findings", "impression"]
        reports = {row["uid"]: row for row in read_rows(root / "indiana_reports.csv", columns)}
        found = []
        for row in read_rows(root / "indiana_projections.csv", ["uid", "filename", "projection"]):
            report = reports.get(row["uid"])
            if report is None or (self._frontal and row["projection"] != "Frontal"):
                continue
            name = row["filename"].removesuffix(".png")
            text = _text(report["findings"], report["impression"])
            found.append(Row(name, known.get(name, root / f"{name}.png"), text, marks(report["Problems"]), row["uid"]))
        return found


def _of_file(path: Path, root: Path, known: dict[str, Path]) -> list[Row]:
    """Return the images of one report."""
    content = path.read_bytes() if path.stat().st_size <= _LARGEST else b"<!DOCTYPE"
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ElementTree.ParseError("it defines a document type or is too large")
        tree = ElementTree.fromstring(content)  # noqa: S314 - without a document type nothing can be expanded
    except ElementTree.ParseError as error:
        raise DataError(path, "is not a report in XML", "get the reports anew") from error
    sections = {e.get("Label", ""): e.text or "" for e in tree.iter("AbstractText")}
    text = _text(*(sections.get(name, "") for name in ("FINDINGS", "IMPRESSION")))
    terms = "|".join(element.text or "" for element in tree.iter("automatic"))
    identity = next((element.get("id", "") for element in tree.iter("uId")), path.stem)
    names = (element.get("id", "") for element in tree.iter("parentImage"))
    return [
        Row(name, known.get(name, root / f"{name}.png"), text, marks(terms), identity)
        for name in names
        if re.fullmatch(r"[\w.-]+", name)
    ]


def _text(*sections: str) -> str:
    """Return the sections of a report without the marks of what was removed to hide names and dates."""
    return " ".join(sections).replace("XXXX", " ")


def marks(terms: str) -> tuple[float, ...]:
    """Return 1 for each label whose name is in the terms of an image, else 0."""
    text = terms.lower()
    return tuple(float(any(name in text for name in names)) for names in LABELS.values())
