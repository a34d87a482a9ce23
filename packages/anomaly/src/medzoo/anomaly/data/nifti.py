"""Folders of NIfTI volumes: reading one case, and what its headers say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medzoo.anomaly.data.cases import Case, Cases, Volume
from medzoo.anomaly.data.intensity import Intensity, to_hu
from medzoo.anomaly.data.lungs import lung_mask
from medzoo.anomaly.data.volumes import VolumeDataModule, VolumeOptions
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import read_header, read_image
from medzoo.core.io.listing import files_in, folders_in
from medzoo.core.io.types import NIFTI

_LEAST = 8  # voxels along an axis
_ORGAN = (0.001, 0.95)  # the part of a volume that an organ may take: lungs of a whole body take 0.003


class NiftiVolumes(VolumeDataModule):
    """One's own CT volumes in a folder.

    `healthy/*.nii.gz` are trained on; `image/*.nii.gz` are tested (and, without the first folder, predicted) with the
    lesions of `mask/` under the same names, where there are any. `unlabelled/*.nii.gz`, ill volumes without masks, are
    for methods that adapt to them (`sim2real`). `organ/` may hold masks of the lungs, again under the
    same names; without them the lungs are found by thresholds, which loses large consolidations at their border.

    Args:
        root: Folder that holds these folders.
        intensity: "hu" refuses volumes that are not in Hounsfield units, "auto" undoes the windows 0…255 for
            [−1250, 250] and 0…1 for [−1400, 100] of the public COVID-19 sets.
        val: Healthy volumes that are kept for choosing the threshold.
        common: Options of all CT data.
    """

    def __init__(self, root: str, intensity: str = "hu", val: int = 2, **common: Unpack[VolumeOptions]) -> None:
        super().__init__(**common)
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
        more = nifti_files(self._root / "unlabelled")
        unlabelled = [self.case(path, None, same_name(organs, path)) for path in more]
        _check_strays(masks, [*nifti_files(healthy), *nifti_files(images)])
        _check_strays(organs, [*nifti_files(healthy), *nifti_files(images), *more])
        return self.split(known, tested, unlabelled)

    def split(self, known: Sequence[Case], tested: Sequence[Case], unlabelled: Sequence[Case] = ()) -> Cases:
        """Keep the last healthy volumes for validation, but leave one to train on.

        Raises:
            DataError: Volumes of two folders share a name, which stands for one patient and its masks.
        """
        names = {case.id: case.path for case in known}
        for case in (*unlabelled, *tested):
            if case.id in names:
                problem = f"has the name of {names[case.id]}, and a name stands for one patient and its masks"
                raise DataError(case.path, problem, "rename one of the two and its masks")
            names[case.id] = case.path
        first = len(known) - min(self._val, max(0, len(known) - 1))
        return Cases(tuple(known[:first]), tuple(known[first:]), tuple(tested), unlabelled=tuple(unlabelled))

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
    from medzoo.core.io.series import layout_of_volume  # nibabel takes a while to import

    image = read_image(path)
    faults = header_faults(path, [part for part in (mask, organ) if part is not None])
    if faults:
        raise faults[0]
    hu = to_hu(image.array, str(path), intensity)
    spacing = (image.spacing[0], image.spacing[1], image.spacing[2])
    inside = lung_mask(hu, spacing) if organ is None else _labels(organ) > 0
    _check_organ(inside, path, organ)
    lesions = None if mask is None else _labels(mask)
    return Volume(hu, inside, lesions, spacing, image.affine, layout_of_volume(str(path)).stored)


def _check_organ(inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], path: Path, organ: Path | None) -> None:
    """Refuse an organ that cannot be one: what it leaves out is never looked at, without a further sign."""
    share = float(inside.mean())
    if _ORGAN[0] <= share <= _ORGAN[1]:
        return
    count = int(inside.sum())
    where, problem = (path, "shows no lung that thresholds find") if organ is None else (organ, "marks no organ")
    if count:
        problem = f"{problem}, only {count} of {inside.size} voxels"
    if share > _ORGAN[1]:
        problem = f"marks {count} of {inside.size} voxels, the whole volume rather than an organ"
    raise DataError(where, problem, "give a mask of the lungs in organ/")


def _labels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    values = read_image(path).array
    if (values != np.rint(values)).any() or values.min() < 0 or values.max() > 255:
        raise DataError(path, "holds values that are no labels (whole numbers from 0 to 255)", "save it as a label map")
    return values.astype(np.uint8)


def header_faults(path: Path, masks: Sequence[Path]) -> list[DataError]:
    """Return what headers alone show to be wrong with a volume and the masks that belong to it."""
    from medzoo.core.io.nifti import offset_mm, same_place

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
            own = read_header(mask)
        except DataError as error:
            found.append(error)
            continue
        if own.channels != 1:
            problem = f"has {own.channels} values a voxel, expected one label"
            found.append(DataError(mask, problem, "save one mask a file"))
        if own.size != header.size:
            problem = f"has the size {own.size}, its image {header.size}"
            found.append(DataError(mask, problem, "resample it onto the image"))
        elif not same_place(header, own):
            problem = f"lies up to {offset_mm(header, own):.3g} mm from its image, by the affines of both"
            found.append(DataError(mask, problem, "resample it onto the image, or correct the affine that is wrong"))
    return found


def nifti_files(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder, sorted; none where it is missing.

    Raises:
        DataError: The folder holds none, or two of one name.
    """
    if not folder.is_dir():
        return []
    found = _listed(folder)
    if not found:
        raise DataError(folder, "holds no .nii or .nii.gz file", "put the volumes there, or remove the folder")
    return found


def _listed(folder: Path) -> list[Path]:
    strange = next((path for path in folders_in(folder) if path.name.lower().endswith(NIFTI)), None)
    if strange is not None:
        raise DataError(strange, "is a folder, expected a NIfTI file", "rename or remove it")
    found = files_in(folder, NIFTI)
    names: dict[str, Path] = {}
    for path in found:
        if (first := names.setdefault(stem(path), path)) != path:
            raise DataError(path, f"has the name of {first.name} beside it", "keep one of the two")
    return found


def stem(path: Path) -> str:
    """Return the name without `.nii` or `.nii.gz`, in whichever case."""
    name = path.name
    for ending in (".gz", ".nii"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def same_name(folder: Path, path: Path) -> Path | None:
    """Return the file of another folder with the same name, packed or not."""
    if not folder.is_dir():
        return None
    return next((other for other in _listed(folder) if stem(other) == stem(path)), None)


def _check_strays(folder: Path, images: Sequence[Path]) -> None:
    """Refuse a mask without an image: a slip in a name would turn a labelled volume into an unlabelled one."""
    names = {stem(path) for path in images}
    for path in nifti_files(folder):
        if stem(path) not in names:
            raise DataError(path, "belongs to no image of that name", "correct its name or remove it")
