"""Images in folders: one folder a class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medzoo.core.classifier.data.items import KINDS, PARTS, Cases, Item, file_item, filled
from medzoo.core.classifier.data.module import ClassificationDataModule, ClassificationOptions, check_classes
from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import check_some, drawn_parts, read_patients
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io.listing import files_in, folders_in, image_below, image_files, no_image, stem, unread_images

_LAYOUT = "one folder a class, or train/, val/ and test/ with such folders"


class PartOptions(ClassificationOptions, total=False):
    """Options of `FileClasses` but for the colour."""

    val_fraction: float
    test_fraction: float
    all_test: bool
    predict: str | None


class FileOptions(PartOptions, total=False):
    """Options of `FileClasses`."""

    colour: bool


class FileClasses(ClassificationDataModule):
    """Base of the layouts of files.

    Args:
        root: Folder of the images.
        colour: Read images in colour; otherwise in grey.
        val_fraction: Part of the training images for validation, where the data have no such part.
        test_fraction: Part of the images for the test, likewise.
        all_test: Test on all images that would be split, and train on none: an external cohort. A part that the data
            name stays as it is.
        predict: Folder of images without classes, for `medzoo predict`; empty: those of the test.
        common: Options of all data of classification.
    """

    def __init__(
        self,
        root: str,
        colour: bool = False,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        all_test: bool = False,
        predict: str | None = None,
        **common: Unpack[ClassificationOptions],
    ) -> None:
        super().__init__(**common)
        self.root, self.colour = Path(root), colour
        self.fractions = drawn_parts(test_fraction, val_fraction, all_test)
        self.folder = Path(predict) if predict else None

    def asked(self) -> tuple[Item, ...]:
        """Return the images that are only to be predicted.

        Raises:
            DataError: The folder has none.
        """
        return unlabelled(self.folder, self.colour)


def unlabelled(folder: Path | None, colour: bool) -> tuple[Item, ...]:
    """Return the images below a folder, whose labels nobody knows; none where there is no folder.

    Raises:
        DataError: The folder has no images.
    """
    if folder is None:
        return ()
    found = image_files(existing_root(folder, "images"), KINDS)
    if not found:
        raise no_image(folder, f"put {', '.join(KINDS)} files there")
    return tuple(file_item(Path(path), colour, name) for name, path in found.items())


class ClassesFolder(FileClasses):
    """One folder a class, in one tree or in `train/`, `val/` and `test/`.

    A part that is missing is drawn from the training images, patient by patient. Patients are named by `metadata.csv`
    in the root (columns `name` and `patient`) or by the images' names. Classes are in alphabetical order: of two, the
    second is the positive one.

    Args:
        root: Folder of the classes, or of `train/`, `val/` and `test/`.
        patient_pattern: Regular expression whose first group in an image's name is the patient, such as
            `^(person[0-9]+)_`; empty: each image is a patient of its own, unless `metadata.csv` names them.
        common: Options of all files of classification.
    """

    def __init__(self, root: str, patient_pattern: str | None = None, **common: Unpack[FileOptions]) -> None:
        super().__init__(root, **common)
        try:
            self.pattern = re.compile(patient_pattern) if patient_pattern else None
        except re.error as error:
            raise ConfigError(
                f"--data.patient_pattern: {patient_pattern} is no regular expression ({error})"
            ) from error
        if self.pattern is not None and not self.pattern.groups:
            raise ConfigError(f"--data.patient_pattern: {patient_pattern} has no group; put the patient in ( )")

    def make_cases(self) -> Cases:
        """Look at the folders."""
        root = existing_root(self.root, _LAYOUT)
        places = {part: root / part for part in PARTS if (root / part).is_dir()}
        if "train" not in places:
            places = {"train": root}
        classes = tuple(sorted({kind.name for place in places.values() for kind in self._kinds(place)}))
        check_classes(root, classes)
        patients = read_patients(root)
        given = {part: self._items(place, classes, patients) for part, place in places.items()}
        check_some(root, patients, {stem(item.path) for items in given.values() for item in items})
        parts = filled(given, *self.fractions, self.seed)
        return Cases(root.resolve().name, classes, parts, channels=3 if self.colour else 1, unlabelled=self.asked())

    def _kinds(self, place: Path) -> list[Path]:
        return [folder for folder in folders_in(place) if image_below(folder, KINDS)]

    def _items(self, place: Path, classes: tuple[str, ...], patients: Mapping[str, str]) -> list[Item]:
        items = []
        for folder in self._kinds(place):
            found = image_files(folder, KINDS)
            if not found:
                raise no_image(folder, "put the images of a class into its folder")
            for name, path in found.items():
                key = "/".join((*folder.relative_to(self.root).parts, name))
                patient = patients.get(name, "") or self._patient(name)
                label = classes.index(folder.name)
                items.append(file_item(Path(path), self.colour, key, label=label, patient=patient))
        return items

    def _patient(self, name: str) -> str:
        found = self.pattern.search(name) if self.pattern is not None else None
        return found[1] or "" if found else ""

    def layout_faults(self) -> list[DataError]:
        """Name images that lie a level too high or too low, and names without a patient."""
        places = [self.root / part for part in PARTS if (self.root / part).is_dir()]
        places = places if self.root / "train" in places else [self.root]
        deep = [fault for place in places for kind in self._kinds(place) for fault in unread_images(kind, KINDS)]
        loose = [(place, files_in(place, KINDS)) for place in {*places, self.root}]
        cure = "move them into the folder of their class"
        high = [
            DataError(files[0], f"is one of {len(files)} images outside of a class", cure)
            for _, files in loose
            if files
        ]
        return [*high, *deep, *self._strangers()]

    def _strangers(self) -> list[DataError]:
        if self.pattern is None:
            return []
        items = [item for part in self.cases.parts.values() for item in part if not item.patient]
        problem = f"has no patient in its name, as {len(items)} names in all; the pattern is {self.pattern.pattern}"
        return [DataError(items[0].path, problem, "correct --data.patient_pattern")] if items else []
