"""Public data sets with sensitive attributes, as their owners distribute them; nothing is downloaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medzoo.core.classifier.data.folder import FileClasses, FileOptions, PartOptions
from medzoo.core.classifier.data.items import KINDS, Cases, Item, file_item, filled
from medzoo.core.classifier.data.module import check_classes
from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError, DataError, check_choice
from medzoo.core.io import Column, Table, read_table
from medzoo.core.io.columns import columns_of
from medzoo.core.io.listing import image_files

SEX, AGE, SKIN = ("female", "male"), ("below 60", "60 and above"), ("light", "dark")


@dataclass
class Found:
    """The rows of a table whose images are there."""

    items: list[Item] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class PublicClasses(FileClasses):
    """Base of the public data sets: images by name in some folders, labels and attributes in a table.

    Args:
        root: Folder of the data set.
        colour: Read images in colour; otherwise in grey.
        common: Options of all files of classification.
    """

    group_names: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    """What was left out, for the summary."""

    def __init__(self, root: str, colour: bool = True, **common: Unpack[PartOptions]) -> None:
        super().__init__(root, colour, **common)

    def images(self, *folders: str) -> dict[str, str]:
        """Return the images of the folders that exist, by name without ending.

        Raises:
            DataError: None of the folders exists.
        """
        root = existing_root(self.root, ", ".join(folders))
        there = [root / name for name in folders if (root / name).is_dir()]
        if not there:
            raise DataError(root, f"has none of the folders {', '.join(folders)}", "give the folder of the data set")
        return {name: path for folder in there for name, path in image_files(folder, KINDS).items()}

    def table(self, name: str, columns: Sequence[Column | str], unique: Sequence[str]) -> Table:
        """Read a table of the data set.

        Raises:
            DataError: It is not there, has no such column, or a row twice.
        """
        path = self.root / name
        if not path.is_file():
            raise DataError(path, "does not exist", "give the folder of the data set, with its tables")
        return read_table(path, columns, unique=unique)

    def cases_of(self, classes: Sequence[str], found: Found, name: str) -> Cases:
        """Return the cases, split by patient; images that are not there must be none.

        Raises:
            DataError: Images of the table are missing.
        """
        if found.missing:
            problem = f"lacks {len(found.missing)} images of its table, such as {found.missing[0]}"
            raise DataError(self.root, problem, "complete the download")
        parts = filled({"train": found.items}, *self.fractions, self.seed)
        return Cases(name, tuple(classes), parts, channels=3 if self.colour else 1, unlabelled=self.asked())

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of images and classes, and what was left out."""
        return [*super().summary(stage), *self.notes]


class Fitzpatrick17k(PublicClasses):
    """Fitzpatrick-17k: `fitzpatrick17k.csv` and the images, as `MD5HASH.jpg` in `images/` or beside the table.

    The images are downloaded one by one from the addresses in the table, of which many are dead: rows without an image
    are left out and counted, as are those that its quality control calls wrongly labelled. The skin type is unknown
    where the table has −1. No patients are known; copies between parts are found by `medzoo check`.

    Args:
        root: Folder of the table.
        target: `nine` classes of diseases, or `malignant` against the rest.
        common: Options of all files of classification.
    """

    def __init__(self, root: str, target: Literal["nine", "malignant"] = "nine", **common: Unpack[FileOptions]) -> None:
        super().__init__(root, **common)
        check_choice("data.target", target, ("nine", "malignant"))
        self._target = target
        self.group_names = {"skin": SKIN, "fitzpatrick": tuple("123456")}

    def make_cases(self) -> Cases:
        """Read the table and look for its images."""
        path = existing_root(self.root, "fitzpatrick17k.csv") / "fitzpatrick17k.csv"
        names = {name.casefold() for name in columns_of(path)} if path.is_file() else set()
        scale = "fitzpatrick_scale" if "fitzpatrick_scale" in names else "fitzpatrick"
        column = "nine_partition_label" if self._target == "nine" else "three_partition_label"
        more = [Column("qc", optional=True)] if "qc" in names else []
        columns: list[Column | str] = ["md5hash", column, Column(scale, "number", low=-1, high=6), *more]
        table = self.table(path.name, columns, ["md5hash"])
        known = {**image_files(self.root, KINDS), **(self.images("images") if (self.root / "images").is_dir() else {})}
        texts, types = table.texts(column), table.numbers(scale)
        classes = sorted(set(texts)) if self._target == "nine" else ["other", "malignant"]
        check_classes(path, classes)
        quality = table.texts("qc") if more else [""] * len(table)
        found, wrong = Found(), 0
        for name, text, kind, note in zip(table.texts("md5hash"), texts, types, quality, strict=True):
            if "wrongly" in note.casefold():
                wrong += 1
            elif name not in known:
                found.missing.append(name)
            else:
                label = classes.index(text) if self._target == "nine" else int(text == "malignant")
                whole = int(kind)
                groups = {"skin": -1 if whole < 1 else int(whole > 3), "fitzpatrick": whole - 1 if whole >= 1 else -1}
                item = file_item(Path(known[name]), self.colour, name, label=label, groups=groups)
                found.items.append(item)
        self.notes = (f"left out: {len(found.missing)} rows without an image, {wrong} that are wrongly labelled",)
        found.missing = []
        return self.cases_of(classes, found, "fitzpatrick17k")


class Isic2019(PublicClasses):
    """ISIC 2019: `ISIC_2019_Training_Input/`, `…_GroundTruth.csv` and `…_Metadata.csv`; split by lesion.

    Sex and age are unknown where the table has nothing. An age of exactly 60 is of the older group.

    Args:
        root: Folder of the three.
        common: Options of all files of classification.
    """

    def __init__(self, root: str, **common: Unpack[FileOptions]) -> None:
        super().__init__(root, **common)
        self.group_names = {"sex": SEX, "age": AGE}

    def make_cases(self) -> Cases:
        """Read both tables and look for the images."""
        known = self.images("ISIC_2019_Training_Input")
        truth = "ISIC_2019_Training_GroundTruth.csv"
        path = self.root / truth
        header = columns_of(path) if path.is_file() else []
        classes = [name for name in header if name not in ("image", "UNK")]
        marks = [Column(name, "number", low=0, high=1) for name in classes]
        labels = self.table(truth, ["image", *marks], ["image"])
        check_classes(path, classes)
        facts = [
            Column("age_approx", "number", optional=True),
            *(Column(n, optional=True) for n in ("lesion_id", "sex")),
        ]
        more = self.table("ISIC_2019_Training_Metadata.csv", ["image", *facts], ["image"])
        rows = zip(more.texts("lesion_id"), more.texts("sex"), more.numbers("age_approx"), strict=True)
        about = dict(zip(more.texts("image"), rows, strict=True))
        found = Found()
        for row, (name, values) in enumerate(
            zip(labels.texts("image"), labels.numbers(*classes).tolist(), strict=True)
        ):
            if sum(values) != 1:
                raise labels.error(row, "image", f"{name} has {sum(values):g} classes, expected one", "correct the row")
            if name not in known:
                found.missing.append(name)
                continue
            lesion, sex, age = about.get(name, ("", "", math.nan))
            groups = {"sex": sex_of(sex), "age": age_of(age)}
            item = file_item(
                Path(known[name]), self.colour, name, label=values.index(1), patient=lesion, groups=groups
            )  # fmt: skip
            found.items.append(item)
        return self.cases_of(classes, found, "isic2019")


class Ham10000(PublicClasses):
    """HAM10000: `HAM10000_metadata.csv` (also without ending) and `HAM10000_images_part_1/`, `…_2/`; split by lesion.

    `sex` is unknown where the table says «unknown» or nothing. An age of exactly 60 is of the older group. Malignant
    are akiec, bcc and mel: some published comparisons count bcc as benign. A copy with an image twice is refused.

    Args:
        root: Folder of the data set.
        target: The seven classes of `dx`, or `malignant` against the rest.
        common: Options of all files of classification.
    """

    _MALIGNANT = frozenset(("akiec", "bcc", "mel"))

    def __init__(self, root: str, target: Literal["dx", "malignant"] = "dx", **common: Unpack[FileOptions]) -> None:
        super().__init__(root, **common)
        check_choice("data.target", target, ("dx", "malignant"))
        self._target = target
        self.group_names = {"sex": SEX, "age": AGE}

    def make_cases(self) -> Cases:
        """Read the table and look for its images."""
        known = self.images("HAM10000_images_part_1", "HAM10000_images_part_2")
        name = next((n for n in ("HAM10000_metadata.csv", "HAM10000_metadata") if (self.root / n).is_file()), "")
        facts = Column("age", "number", optional=True), Column("sex", optional=True)
        columns: list[Column | str] = ["lesion_id", "image_id", "dx", *facts]
        table = self.table(name or "HAM10000_metadata.csv", columns, ["image_id"])
        kinds = table.texts("dx")
        classes = sorted(set(kinds)) if self._target == "dx" else ["benign", "malignant"]
        check_classes(self.root, classes)
        found = Found()
        rows = zip(
            table.texts("image_id"), kinds, table.texts("lesion_id"), table.texts("sex"), table.numbers("age"),
            strict=True,
        )  # fmt: skip
        for image, kind, lesion, sex, age in rows:
            if image not in known:
                found.missing.append(image)
                continue
            label = classes.index(kind) if self._target == "dx" else int(kind in self._MALIGNANT)
            groups = {"sex": sex_of(sex), "age": age_of(age)}
            item = file_item(Path(known[image]), self.colour, image, label=label, patient=lesion, groups=groups)
            found.items.append(item)
        return self.cases_of(classes, found, "ham10000")


class ReportedOptions(PartOptions, total=False):
    """Options of `ReportedLabels`."""

    labels: list[str] | None
    blank: Literal["negative", "unknown"]
    lateral: bool
    colour: bool


class ReportedLabels(PublicClasses):
    """Base of chest radiographs whose labels CheXpert's labeller read off the reports: 1, 0, −1 or nothing.

    Args:
        root: Folder of the data set.
        labels: Columns of the labels.
        blank: What a label is that the report does not mention: `negative` or `unknown`. An uncertain one is unknown.
        lateral: Take lateral views too, all but AP and PA.
        colour: Read images in colour; otherwise in grey.
        common: Options of all files of classification.
    """

    def __init__(
        self,
        root: str,
        labels: list[str] | None = None,
        blank: Literal["negative", "unknown"] = "negative",
        lateral: bool = False,
        colour: bool = False,
        **common: Unpack[PartOptions],
    ) -> None:
        super().__init__(root, colour, **common)
        check_choice("data.blank", blank, ("negative", "unknown"))
        self.labels = labels or ["Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"]
        if len(self.labels) < 2:
            raise ConfigError("--data.labels: expected at least two columns of labels")
        self.blank, self.lateral = 0.0 if blank == "negative" else math.nan, lateral


class CheXpert(ReportedLabels):
    """CheXpert: `train.csv` and `valid.csv` beside `train/` and `valid/`; the latter, by radiologists, is the test.

    A label of −1 (uncertain) was not looked for; one that the report does not mention is negative, unless `blank` says
    otherwise. Validation images are drawn from the training ones by patient.

    Args:
        root: Folder of both tables, such as `CheXpert-v1.0-small`.
        common: Options of all radiographs with labels from reports.
    """

    def __init__(self, root: str, **common: Unpack[ReportedOptions]) -> None:
        super().__init__(root, **common)
        self.group_names = {"sex": SEX, "age": AGE}

    def make_cases(self) -> Cases:
        """Read both tables; whether the images exist is checked with their headers."""
        existing_root(self.root, "train.csv and valid.csv")
        given = {"train": self._rows("train.csv"), "test": self._rows("valid.csv")}
        parts = filled(given, *self.fractions, self.seed)
        channels = 3 if self.colour else 1
        return Cases("chexpert-groups", tuple(self.labels), parts, True, channels, self.asked())

    def _rows(self, name: str) -> list[Item]:
        marks = [Column(label, "number", optional=True, low=-1, high=1) for label in self.labels]
        facts: list[Column | str] = [
            Column("Sex", optional=True),
            Column("Age", "number", optional=True),
            "Frontal/Lateral",
        ]
        table = self.table(name, ["Path", *facts, *marks], ["Path"])
        items = []
        rows = zip(
            table.texts("Path"), table.texts("Frontal/Lateral"), table.texts("Sex"), table.numbers("Age"),
            table.numbers(*self.labels).tolist(), strict=True,
        )  # fmt: skip
        for place, view, sex, age, values in rows:
            if view.casefold() == "lateral" and not self.lateral:
                continue
            inner = place.replace("\\", "/").split("/")
            below = inner[next((i for i, part in enumerate(inner) if part in ("train", "valid")), 0) :]
            if ".." in below:
                raise DataError(self.root / name, f"has a path {place!r} that leads out", "correct it")
            patient = next((part for part in below if part.startswith("patient")), "")
            label = tuple(self.blank if math.isnan(v) else math.nan if v == -1 else v for v in values)
            groups = {"sex": sex_of(sex), "age": age_of(age)}
            path, key = self.root.joinpath(*below), "/".join(below).rpartition(".")[0]
            items.append(file_item(path, self.colour, key, label=label, patient=patient, groups=groups))
        return items


def sex_of(text: str) -> int:
    """Return 0 for female, 1 for male and −1 for all else, such as «unknown»."""
    return {"f": 0, "female": 0, "m": 1, "male": 1}.get(text.strip().casefold(), -1)


def age_of(years: float) -> int:
    """Return 0 below 60, 1 from 60 on and −1 where it is not known."""
    return -1 if math.isnan(years) else int(years >= 60)
