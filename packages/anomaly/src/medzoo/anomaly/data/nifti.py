"""Folders of NIfTI volumes: reading one case, and what its headers tell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medzoo.anomaly.data.intensity import Intensity, to_hu
from medzoo.anomaly.data.lungs import lung_mask
from medzoo.anomaly.data.volumes import Case, Cases, Volume, VolumeDataModule
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import read_header, read_image
from medzoo.core.io.image import NIFTI
from medzoo.core.io.listing import files_in, folders_in

_LEAST = 8  # voxels along an axis


class NiftiVolumes(VolumeDataModule):
    """One's own CT volumes in a folder.

    `healthy/*.nii.gz` are trained on; `image/*.nii.gz` are tested (and, without the first folder, predicted) with the
    lesions of `mask/` under the same names, where there are any. `organ/` may hold masks of the lungs, again under the
    same names; without them the lungs are found by thresholds, which loses large consolidations at their border.

    Args:
        root: Folder that holds these folders.
        intensity: "hu" refuses volumes that are not in Hounsfield units, "auto" undoes the windows 0…255 for
            [−1250, 250] and 0…1 for [−1400, 100] of the public COVID-19 sets.
        val: Healthy volumes that are kept for choosing the threshold.
        common: Options of all CT data.
    """

    def __init__(self, root: str, intensity: str = "hu", val: int = 2, **common: object) -> None:
        super().__init__(**common)  # type: ignore[arg-type]
        if intensity not in ("hu", "auto"):
            raise ConfigError(f"--data.intensity: expected hu or auto, got {intensity}")
        if val < 0:
            raise ConfigError(f"--data.val: expected at least 0, got {val}")
        self._root, self._val = Path(root), val
        self._intensity: Intensity = "hu" if intensity == "hu" else "auto"

    def make_cases(self) -> Cases:
        """Look at the folders."""
        healthy, images = self._root / "healthy", self._root / "image"
        if not self._root.is_dir():
            raise DataError(self._root, "is no folder", "give the folder that holds healthy/ and image/")
        if not healthy.is_dir() and not images.is_dir():
            raise DataError(self._root, "holds neither healthy/ nor image/", "put the volumes there")
        masks, organs = self._root / "mask", self._root / "organ"
        known = [self.case(path, None, same_name(organs, path)) for path in nifti_files(healthy)]
        tested = [self.case(path, same_name(masks, path), same_name(organs, path)) for path in nifti_files(images)]
        for folder in (masks, organs):
            _check_strays(folder, [*nifti_files(healthy), *nifti_files(images)])
        return self.split(known, tested)

    def split(self, known: Sequence[Case], tested: Sequence[Case]) -> Cases:
        """Keep the last healthy volumes for validation, but leave one to train on."""
        first = len(known) - min(self._val, max(0, len(known) - 1))
        return Cases(tuple(known[:first]), tuple(known[first:]), tuple(tested))

    def case(self, path: Path, mask: Path | None, organ: Path | None) -> Case:
        """Describe one volume."""
        name = stem(path)
        load = partial(read_volume, path, mask, organ, self._intensity)
        return Case(name, name, load, str(path), masks=tuple(str(part) for part in (mask, organ) if part))

    def faults(self, case: Case) -> list[DataError]:
        """Compare the headers of image and masks."""
        return header_faults(Path(case.path), [Path(part) for part in case.masks])


def read_volume(path: Path, mask: Path | None, organ: Path | None, intensity: Intensity) -> Volume:
    """Read a volume and its masks.

    Raises:
        DataError: A file is unreadable, no CT in the units promised, or does not fit the others; or the organ is empty.
    """
    image = read_image(path)
    faults = header_faults(path, [part for part in (mask, organ) if part is not None])
    if faults:
        raise faults[0]
    hu = to_hu(image.array, str(path), intensity)
    spacing = (image.spacing[0], image.spacing[1], image.spacing[2])
    inside = lung_mask(hu, spacing) if organ is None else _labels(organ) > 0
    if not inside.any():
        where = path if organ is None else organ
        problem = "shows no lung that thresholds find" if organ is None else "marks no organ"
        raise DataError(where, problem, "give a mask of the lungs in organ/")
    return Volume(hu, inside, None if mask is None else _labels(mask), spacing)


def _labels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    values = read_image(path).array
    if (values != np.rint(values)).any() or values.min() < 0 or values.max() > 255:
        raise DataError(path, "holds values that are no labels (whole numbers from 0 to 255)", "save it as a label map")
    return values.astype(np.uint8)


def header_faults(path: Path, masks: Sequence[Path]) -> list[DataError]:
    """Return what headers alone show to be wrong with a volume and the masks that belong to it."""
    found: list[DataError] = []
    try:
        header = read_header(path)
        if len(header.size) != 3 or header.channels != 1:
            what = f"{len(header.size)} dimensions" if header.channels == 1 else f"{header.channels} values a voxel"
            found.append(
                DataError(path, f"has {what}, expected one three-dimensional volume", "save one volume a file")
            )
        elif min(header.size) < _LEAST:
            found.append(DataError(path, f"has the size {header.size}, expected at least {_LEAST} along each axis"))
    except DataError as error:
        return [error]
    for mask in masks:
        try:
            size, channels = read_header(mask).size, read_header(mask).channels
        except DataError as error:
            found.append(error)
            continue
        if channels != 1:
            found.append(DataError(mask, f"has {channels} values a voxel, expected one label", "save one mask a file"))
        if size != header.size:
            found.append(DataError(mask, f"has the size {size}, its image {header.size}", "resample it onto the image"))
    return found


def nifti_files(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder, sorted; none where it is missing."""
    if not folder.is_dir():
        return []
    named_alike = [path for path in folders_in(folder) if path.name.lower().endswith(NIFTI)]  # told by the reader
    found = sorted([*files_in(folder, NIFTI), *named_alike])
    if not found:
        raise DataError(folder, "holds no .nii or .nii.gz file", "put the volumes there, or remove the folder")
    return found


def stem(path: Path) -> str:
    """Return the name without `.nii` or `.nii.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def same_name(folder: Path, path: Path) -> Path | None:
    """Return the file of another folder with the same name, packed or not."""
    for ending in (".nii.gz", ".nii"):
        candidate = folder / (stem(path) + ending)
        if candidate.is_file():
            return candidate
    return None


def _check_strays(folder: Path, images: Sequence[Path]) -> None:
    """Refuse a mask without an image: a slip in a name would turn a labelled volume into an unlabelled one."""
    names = {stem(path) for path in images}
    for path in nifti_files(folder):
        if stem(path) not in names:
            raise DataError(path, "belongs to no image of that name", "correct its name or remove it")
