"""DICOM slices among the files of a prediction, as NIfTI volumes beside the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.core.cli.streams import say
from medzoo.core.errors import DataError
from medzoo.core.io import file_name
from medzoo.core.io.nifti_out import write_nifti
from medzoo.core.io.series import is_dicom, read_series, series_of


def assembled(files: Sequence[str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """Put the DICOM slices together to `series/<folder>-<hash of the series>.nii.gz`, which a second call writes alike.

    Args:
        files: All files of a call.
        folder: Of the answers.

    Returns:
        The other files and the volumes; and why slices, or series by the folder of their slices, are none.
    """
    slices = [path for path in files if is_dicom(path)]
    found, faults = series_of(slices)
    failed = {path: str(fault) for path, fault in faults.items()}
    volumes = []
    for series in found:
        target = folder / "series" / f"{file_name(series.name)}.nii.gz"
        try:
            image = read_series(series.paths)
        except DataError as error:
            failed[f"{Path(series.paths[0]).parent} ({series.name})"] = str(error)
            continue
        whole = np.rint(image.array)
        plain = (whole == image.array).all() and np.abs(whole).max() < 2**15
        write_nifti(target, whole.astype(np.int16) if plain else image.array, affine=image.affine)
        volumes.append(str(target))
        say(f"{target}: {len(series.paths)} slices of {Path(series.paths[0]).parent}")
    for problem in failed.values():
        say(f"failed: {problem}", error=True)
    return [path for path in files if path not in set(slices)] + volumes, failed
