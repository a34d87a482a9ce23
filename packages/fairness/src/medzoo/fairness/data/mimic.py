"""MIMIC-CXR-JPG with sex, age and race of MIMIC-IV, as PhysioNet distributes them; nothing is downloaded."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from medzoo.core.classifier.data.items import Cases, Item, file_item
from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.errors import DataError
from medzoo.fairness.data.public import AGE, SEX, ReportedLabels, ReportedOptions, age_of, sex_of

RACE = ("white", "black", "asian", "hispanic", "other")
SPLITS = {"train": "train", "validate": "val", "test": "test"}
_MOST_BYTES, _MOST_ROWS = 2**30, 5_000_000
_MARKS = {"": None, "1": 1.0, "0": 0.0, "-1": math.nan}


class MimicGroups(ReportedLabels):
    """MIMIC-CXR-JPG 2.0.0 with attributes: `files/p10/p10000032/s50414267/ID.jpg` and tables, `.csv` or `.csv.gz`.

    Tables are `mimic-cxr-2.0.0-metadata`, `-split` and `-chexpert`, and of MIMIC-IV `patients` (sex, age) and, where it
    is there, `admissions` (race). The parts are the official ones. The age is that in the year of the study:
    `anchor_age` plus the years since `anchor_year`. Race is written down at each admission and varies: the most
    frequent one that is known counts, of equally frequent ones the first of white, black, asian, hispanic, other. Who
    is in no table is unknown, as are «UNKNOWN», «UNABLE TO OBTAIN» and «PATIENT DECLINED TO ANSWER».

    Args:
        root: Folder with `files/`.
        tables: Folder of the tables; empty: the root.
        common: Options of all radiographs with labels from reports.
    """

    def __init__(self, root: str, tables: str | None = None, **common: Unpack[ReportedOptions]) -> None:
        super().__init__(root, **common)
        self._tables = Path(tables or root)
        self.group_names = {"sex": SEX, "age": AGE, "race": RACE}

    def make_cases(self) -> Cases:
        """Read the tables; whether the images exist is checked with their headers."""
        root = existing_root(self.root, "files/p10/p10000032/s50414267/ID.jpg")
        metadata, split, chexpert = (
            f"mimic-cxr-2.0.0-{name}.csv" for name in ("metadata", "split", "chexpert")
        )  # fmt: skip
        keys = ("dicom_id", "subject_id", "study_id")
        about = {row[0]: row[1:] for _, row in self._rows(metadata, ("dicom_id", "ViewPosition", "StudyDate"))}
        marks = {row[0]: (n, row[1:]) for n, row in self._rows(chexpert, ("study_id", *self.labels))}
        people, race = self._people(), self._races()
        parts: dict[str, list[Item]] = {part: [] for part in SPLITS.values()}
        for line, (image, subject, study, part) in self._rows(split, (*keys, "split")):
            if part not in SPLITS or not all(name.replace("-", "").isalnum() for name in (image, subject, study)):
                raise self._error(split, line, f"has image {image[:40]!r} of split {part[:40]!r}", "get the table anew")
            view, date = about.get(image, ("", ""))
            if study not in marks or (view not in ("AP", "PA") and not self.lateral):
                continue
            sex, born = people.get(subject, (-1, math.nan))
            years = int(date[:4]) - born if date[:4].isdecimal() else math.nan
            groups = {"sex": sex, "age": age_of(years), "race": race.get(subject, -1)}
            label = self._label(chexpert, *marks[study])
            path = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{image}.jpg"
            item = file_item(path, self.colour, image, label=label, patient=subject, groups=groups)
            parts[SPLITS[part]].append(item)
        given = {part: tuple(items) for part, items in parts.items()}
        channels = 3 if self.colour else 1
        return Cases("mimic-groups", tuple(self.labels), given, True, channels, self.asked())

    def _label(self, table: str, line: int, texts: Sequence[str]) -> tuple[float, ...]:
        values = []
        for text in texts:
            short = text.removesuffix(".0")
            if short not in _MARKS:
                raise self._error(table, line, f"has the label {text[:40]!r}, expected 1, 0, -1 or nothing")
            known = _MARKS[short]
            values.append(self.blank if known is None else known)
        return tuple(values)

    def _people(self) -> dict[str, tuple[int, float]]:
        """Return sex and year of birth, in the shifted years of each patient."""
        found = {}
        for line, (subject, gender, age, year) in self._rows(
            "patients.csv", ("subject_id", "gender", "anchor_age", "anchor_year")
        ):
            if not (age.isdecimal() and year.isdecimal()):
                raise self._error("patients.csv", line, f"has the age {age[:40]!r} in the year {year[:40]!r}")
            found[subject] = sex_of(gender), float(int(year) - int(age))
        return found

    def _races(self) -> dict[str, int]:
        if not any(path.is_file() for path in self._files("admissions.csv")):
            return {}
        counts: dict[str, Counter[int]] = {}
        column = "race" if "race" in self._header("admissions.csv") else "ethnicity"
        for _, (subject, text) in self._rows("admissions.csv", ("subject_id", column)):
            if (code := race_of(text)) >= 0:
                counts.setdefault(subject, Counter())[code] += 1
        return {subject: min(own, key=lambda code: (-own[code], code)) for subject, own in counts.items()}

    def _files(self, name: str) -> tuple[Path, Path]:
        return self._tables / name, self._tables / f"{name}.gz"

    def _error(self, name: str, line: int, problem: str, cure: str = "correct the row") -> DataError:
        path = next((path for path in self._files(name) if path.is_file()), self._tables / name)
        return DataError(f"{path}:{line}", problem, cure)

    def _header(self, name: str) -> list[str]:
        return next(self._lines(name))[1]

    def _rows(self, name: str, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield line and chosen values of each row.

        Raises:
            DataError: The table is not there, is damaged or too large, or lacks a column.
        """
        lines = self._lines(name)
        header = next(lines, (1, []))[1]
        lacking = [column for column in columns if column not in header]
        if lacking:
            raise self._error(name, 1, f"has no column {lacking[0]!r}", f"give a table with {', '.join(columns)}")
        places = [header.index(column) for column in columns]
        for line, values in lines:
            if len(values) != len(header):
                raise self._error(name, line, f"has {len(values)} values, expected {len(header)}")
            yield line, tuple(values[place].strip() for place in places)

    def _lines(self, name: str) -> Iterator[tuple[int, list[str]]]:
        path = next((path for path in self._files(name) if path.is_file()), None)
        if path is None:
            raise DataError(self._tables / name, "does not exist, nor packed as .gz", "give the folder of the tables")
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                raw = file.read(_MOST_BYTES + 1)
            if len(raw) > _MOST_BYTES:
                raise DataError(path, f"has more than {_MOST_BYTES} bytes", "give the table of MIMIC as it is")
            reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
            for row in reader:
                if reader.line_num > _MOST_ROWS:
                    raise DataError(path, f"has more than {_MOST_ROWS} rows", "give the table of MIMIC as it is")
                if row:
                    yield reader.line_num, row
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(path, f"cannot be read ({' '.join(str(error).split())[:100]})", "get it anew") from error


def race_of(text: str) -> int:
    """Return the place in `RACE` of what an admission says, −1 where it says nothing."""
    words = text.upper()
    if not words or any(none in words for none in ("UNKNOWN", "UNABLE", "DECLINED", "?")):
        return -1
    for code, (name, more) in enumerate((("WHITE", ""), ("BLACK", ""), ("ASIAN", ""), ("HISPANIC", "LATINO"))):
        if name in words or (more and more in words):
            return code
    return RACE.index("other")
