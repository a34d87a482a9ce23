"""MIMIC-CXR-JPG with the reports of MIMIC-CXR."""

from __future__ import annotations

import re
from pathlib import Path

from medzoo.core.data.options import Unpack
from medzoo.core.errors import DataError
from medzoo.vlm.data.layouts import CHEXPERT, FINDINGS, PublicFiles, PublicOptions, Row, mark, read_rows

_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z ,/()-]{2,60}):", re.MULTILINE)
_SPLITS = {"train": "train", "validate": "val", "test": "test"}
_FRONTAL = ("AP", "PA")
_LARGEST = 2**20


class MimicCxr(PublicFiles):
    """MIMIC-CXR-JPG 2.0.0: `files/p10/p10000032/s50414267/ID.jpg`, its tables, and the reports of MIMIC-CXR.

    A report is the sections FINDINGS and IMPRESSION; a study with neither has no text. Splits are the official ones,
    labels those that CheXpert's labeller read off the reports, with −1 and nothing as unknown.

    Args:
        root: Folder with `files/` and `mimic-cxr-2.0.0-metadata.csv.gz`, `-split` and `-chexpert`.
        reports: Folder with `files/p10/p10000032/s50414267.txt`; empty: the root.
        frontal: Take frontal views (AP and PA) alone.
        common: Options of all public data sets.
    """

    layout = "files/p10/p10000032/s50414267/ID.jpg and the tables mimic-cxr-2.0.0-….csv.gz"

    def __init__(
        self,
        root: str,
        reports: str | None = None,
        frontal: bool = True,
        **common: Unpack[PublicOptions],
    ) -> None:
        super().__init__(root, **common)
        self._reports, self._frontal = Path(reports or root), frontal

    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Read the three tables and the reports."""
        keys = ["dicom_id", "subject_id", "study_id"]
        table = {name: root / f"mimic-cxr-2.0.0-{name}.csv" for name in ("metadata", "split", "chexpert")}
        views = {r["dicom_id"]: r["ViewPosition"] for r in read_rows(table["metadata"], [*keys, "ViewPosition"])}
        marks = {
            row["study_id"]: tuple(mark(row[name]) for name in FINDINGS)
            for row in read_rows(table["chexpert"], [*keys[1:], *CHEXPERT])
        }
        found, texts = [], dict[str, str]()
        for row in read_rows(table["split"], [*keys, "split"]):
            image, subject, study = (row[key] for key in keys)
            if self._frontal and views.get(image) not in _FRONTAL:
                continue
            if not all(part.replace("-", "").isalnum() for part in (image, subject, study)):
                raise DataError(table["split"], f"has a row of image {image!r}", "get the table anew")
            if row["split"] not in _SPLITS:
                raise DataError(table["split"], f"has the split {row['split']!r}", f"expected {', '.join(_SPLITS)}")
            inner = Path("files", f"p{subject[:2]}", f"p{subject}", f"s{study}")
            if study not in texts:
                texts[study] = self._text(self._reports / inner.with_suffix(".txt"))
            found.append(
                Row(
                    image, root / inner / f"{image}.jpg", texts[study], marks.get(study), subject, _SPLITS[row["split"]]
                )
            )
        return FINDINGS, found

    def _text(self, path: Path) -> str:
        """Return findings and impression of a report; empty where there is no file."""
        if not path.is_file():
            return ""
        if path.stat().st_size > _LARGEST:
            raise DataError(path, "is too large for a report", "get the reports anew")
        return report_text(path.read_text(encoding="utf8", errors="replace"))


def report_text(report: str) -> str:
    """Return the sections FINDINGS and IMPRESSION (or CONCLUSION) of a report; empty where it has neither."""
    parts = _HEADING.split(report)
    sections = zip(parts[1::2], parts[2::2], strict=True)
    wanted = [text.strip() for name, text in sections if re.search(r"FINDING|IMPRESSION|CONCLUSION", name)]
    return "\n".join(text for text in wanted if text)
