"""Images and their masks in two folders, with an optional table of patients and groups."""

from __future__ import annotations

from collections.abc import Container
from functools import partial
from pathlib import Path

from medzoo.core.classifier.data.items import KINDS, read_file
from medzoo.core.data.files import existing_root
from medzoo.core.data.groups import numbered
from medzoo.core.data.options import DataOptions, Unpack
from medzoo.core.data.splits import drawn_parts, patients_of, split_by_fraction
from medzoo.core.errors import DataError
from medzoo.core.io import Column, Table, read_header, read_image, read_table
from medzoo.core.io.columns import columns_of, patient_column
from medzoo.core.io.listing import image_files, no_image, same_content, stem, unread_images
from medzoo.core.names import listed
from medzoo.core.segmenter.data.module import Drawn, MaskDataModule, MaskItem

TABLE = "cases.csv"
_ENDINGS = ("", "_mask", "_segmentation")
"""What the name of a mask may have behind that of its image."""


class MasksFolder(MaskDataModule):
    """Images in `images/` and masks in `masks/`, which are called as they are, or so with `_mask` or `_segmentation`.

    A mask has the size of its image; what is not 0 in it is the structure, which a JPEG file cannot hold. `cases.csv`,
    where it is there, has a row an image: `id` and, where they are known, `patient` and the columns of `groups`; else
    `metadata.csv` may name the patients, as in other folders. All parts are drawn, by patient.

    Args:
        root: Folder of both.
        colour: Read images in colour; otherwise in grey.
        groups: Columns of sensitive attributes in `cases.csv`; their values are numbered in alphabetical order, those
            that say that nobody knows (empty, `unknown`, `n/a`, `?`, −1) are no group.
        val_fraction: Part of the images for validation.
        test_fraction: Part of the images for the test.
        all_test: Test on all images that would be split, and train on none: an external cohort. A part that the data
            name stays as it is.
        common: Options of all data modules.
    """

    source: str = "masks"

    def __init__(
        self,
        root: str,
        colour: bool = False,
        groups: list[str] | None = None,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        all_test: bool = False,
        **common: Unpack[DataOptions],
    ) -> None:
        super().__init__(**common)
        self.root, self.channels = Path(root), 3 if colour else 1
        self._groups, self._fractions = groups or [], drawn_parts(test_fraction, val_fraction, all_test)

    def make_parts(self) -> dict[str, tuple[MaskItem, ...]]:
        """List the images, and the mask of each."""
        root = existing_root(self.root, "images/ and masks/")
        for name in ("images", "masks"):
            if not (root / name).is_dir():
                raise DataError(root, f"has no folder {name}", "put the images in images/ and their masks in masks/")
        images, masks = image_files(root / "images", KINDS), image_files(root / "masks", KINDS)
        if not images:
            raise no_image(root / "images", f"put {', '.join(KINDS)} files there")
        own = {name: next((masks[name + e] for e in _ENDINGS if name + e in masks), "") for name in images}
        lacking = [name for name, mask in own.items() if not mask]
        if lacking:
            raise DataError(root / "masks", f"has no mask of {len(lacking)} images: {listed(lacking)}", "add them")
        lossy = next((mask for mask in own.values() if mask.lower().endswith((".jpg", ".jpeg"))), None)
        if lossy is not None:
            raise DataError(lossy, "is a JPEG file, whose pixels beside a border are not 0", "save masks as PNG")
        patients, groups = self._known(images)
        items = {
            name: MaskItem(
                name,
                partial(_read, Path(path), Path(own[name]), self.channels == 3),
                patients.get(name, ""),
                {column: codes.get(name, -1) for column, codes in groups.items()},
                path,
                own[name],
            )
            for name, path in images.items()
        }
        split = split_by_fraction(list(items), {n: p for n, p in patients.items() if p}, *self._fractions, self.seed)
        return {part: tuple(items[name] for name in getattr(split, part)) for part in ("train", "val", "test")}

    def _known(self, images: Container[str]) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        """Return the patient and, of each attribute, the group of each image, as far as the table says."""
        path = self.root / TABLE
        if not path.is_file():
            if self._groups:
                raise DataError(path, "does not exist", f"write a row an image with id, {', '.join(self._groups)}")
            return patients_of(self.root, images), {}
        wanted = [Column("id"), *(Column(name, optional=True) for name in self._groups)]
        table = read_table(path, wanted, unique=["id"])
        names = [stem(name) for name in table.texts("id")]
        seen: set[str] = set()
        for row, name in enumerate(names):
            if name not in images:
                problem = f"there is no image {name!r} in {self.root / 'images'}"
                raise table.error(row, "id", problem, "correct the name or remove the row")
            if name in seen:
                raise table.error(row, "id", f"repeats image {name}", "remove one of the two")
            seen.add(name)
        patients = dict(zip(names, self._patients(path, table), strict=True))
        if not any(patients.values()):
            patients = patients_of(self.root, images)
        found: dict[str, dict[str, int]] = {}
        self.group_names = {}
        for column in self._groups:
            self.group_names[column], codes = numbered(table.texts(column))
            found[column] = dict(zip(names, codes, strict=True))
        return patients, found

    def _patients(self, path: Path, table: Table) -> list[str]:
        column = patient_column(columns_of(path))
        if column is None:
            return [""] * len(table)
        return read_table(path, ["id", Column(column, optional=True)]).texts(column)

    def check(self, stage: str | None = None) -> list[DataError]:
        """Return what is wrong with folders and table, images of two parts, and those whose mask has another size."""
        found = super().check(stage)
        if found:
            return found
        paths = {part: [item.path for item in items] for part, items in self.parts.items()}
        found += unread_images(self.root / "images", KINDS)
        used = {item.mask for items in self.parts.values() for item in items}
        alone = [name for name, path in image_files(self.root / "masks", KINDS).items() if path not in used]
        if alone:
            problem = f"has {len(alone)} masks of no image: {listed(alone)}"
            found.append(DataError(self.root / "masks", problem, "add their images, or remove them"))
        found += same_content(paths["train"], paths["val"])
        found += same_content([*paths["train"], *paths["val"]], paths["test"])
        for item in (item for items in self.parts.values() for item in items):
            try:
                if read_header(item.path).size != read_header(item.mask).size:
                    problem = f"has another size than {item.path}"
                    found.append(DataError(item.mask, problem, "give the mask of that image"))
            except DataError as error:
                found.append(error)
        return found


def _read(path: Path, mask: Path, colour: bool) -> Drawn:
    image, _ = read_file(path, colour)
    return image, read_image(mask, "grey").array > 0
