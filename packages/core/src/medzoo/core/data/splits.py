"""Splits that depend on a seed and on names alone, never on labels, and that keep a patient's images together."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import Column, read_table
from medzoo.core.io.columns import column_called, columns_of, patient_column
from medzoo.core.io.listing import stem

_IMAGE = ("name", "id", "image", "filename", "file")
"""Columns of the images in `metadata.csv`."""


@dataclass(frozen=True)
class Split:
    """Which images are for what; the three do not overlap."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


def check_fractions(**fractions: float) -> None:
    """Raise `ConfigError` unless the fractions lie in [0, 1) and leave something to train on."""
    for name, value in fractions.items():
        if not 0 <= value < 1:
            raise ConfigError(f"--data.{name}: expected a number from 0 to below 1, got {value}")
    if sum(fractions.values()) >= 1:
        raise ConfigError(
            f"{' + '.join(f'--data.{name}' for name in fractions)}: expected a sum below 1 to leave training images"
        )


def drawn_parts(test_fraction: float, val_fraction: float, all_test: bool) -> tuple[float, float]:
    """Return the parts of the images that are drawn for test and validation: all for the test where `all_test`.

    Raises:
        ConfigError: See `check_fractions`.
    """
    check_fractions(val_fraction=val_fraction, test_fraction=test_fraction)
    return (1.0, 0.0) if all_test else (test_fraction, val_fraction)


def split_by_fraction(
    names: Sequence[str],
    patients: Mapping[str, str],
    test_fraction: float,
    val_fraction: float,
    seed: int,
    keep: Collection[str] = (),
) -> Split:
    """Split images so that no patient is in two parts.

    Patients are taken in the order of a hash of (seed, patient), so the split is the same on every machine, and images
    that are added later move few of the others.

    Args:
        names: The images.
        patients: Patient of each image; one that is not listed is a patient of its own.
        test_fraction: Part of the images for the test.
        val_fraction: Part of the images for validation.
        seed: Seed of the split.
        keep: Images that must stay in the training part (the shots), with their patients.
    """
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(patients.get(name, f"image {name}"), []).append(name)
    kept = {patients.get(name, f"image {name}") for name in keep}
    order = sorted((p for p in members if p not in kept), key=lambda patient: _rank(seed, patient))
    test = _take(order, members, round(test_fraction * len(names)) if test_fraction else 0)
    order = [patient for patient in order if patient not in test]
    val = _take(order, members, round(val_fraction * len(names)) if val_fraction else 0)
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for patient, images in members.items():
        parts["test" if patient in test else "val" if patient in val else "train"] += images
    return Split(**{part: tuple(sorted(images)) for part, images in parts.items()})


def _rank(seed: int, patient: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{patient}".encode(errors="surrogatepass"), digest_size=8).digest()


def _take(order: Sequence[str], members: Mapping[str, list[str]], target: int) -> set[str]:
    """Take patients in order while their images fit into the target; at least one where the target is not zero."""
    taken: set[str] = set()
    count = 0
    for patient in order:
        if count + len(members[patient]) <= target:
            taken.add(patient)
            count += len(members[patient])
    if target and not taken and len(order) > 1:
        taken.add(min(order, key=lambda patient: len(members[patient])))
    return taken


def read_patients(root: Path) -> dict[str, str]:
    """Return the patient of each image from `metadata.csv` in the root; empty without such a file or column.

    The image is the column `name`, `id`, `image`, `filename` or `file` (with or without suffix), the patient `patient`,
    `patient_id`, `patientid`, `subject` or `subject_id`, in any case and with `_`, `-` or a blank between the words.

    Raises:
        DataError: The table has patients and does not say of which images, or gives one name to two patients.
    """
    path = root / "metadata.csv"
    if not path.is_file():
        return {}
    columns = columns_of(path)
    image, patient = column_called(columns, _IMAGE), patient_column(columns)
    if patient is None:
        return {}
    if image is None:
        problem = f"has patients in the column {patient!r}, and no column of their images"
        raise DataError(path, problem, f"call that column {', '.join(_IMAGE[:-1])} or {_IMAGE[-1]}")
    table = read_table(path, [image, Column(patient, optional=True)])
    found: dict[str, str] = {}
    for row, (name, person) in enumerate(zip(table.texts(image), table.texts(patient), strict=True)):
        if person and found.setdefault(stem(name), f"patient {person}") != f"patient {person}":
            problem = f"{patient} of {stem(name)!r} is {person!r}, further up {found[stem(name)].partition(' ')[2]!r}"
            cure = "remove one row, or give two images names of their own, for folders do not count"
            raise table.error(row, patient, problem, cure)
    return found


def patients_of(root: Path, images: Container[str]) -> dict[str, str]:
    """Return what `read_patients` does, of which at least one must be of an image.

    Args:
        root: The folder of the data.
        images: Names of the images without ending.

    Raises:
        DataError: See `read_patients`; or the table names no image.
    """
    patients = read_patients(root)
    check_some(root, patients, images)
    return patients


def check_some(
    root: Path, patients: Mapping[str, str], names: Container[str], what: str = "image of the folders"
) -> None:
    """Refuse patients that `read_patients` found of which none is of the data.

    Args:
        root: The folder of the data.
        patients: Patient by name.
        names: Names of the data.
        what: What they are names of.

    Raises:
        DataError: None is among the names.
    """
    if patients and not any(name in names for name in patients):
        problem = f"names no {what}; its first is {next(iter(patients))!r}"
        raise DataError(root / "metadata.csv", problem, f"write the names of the {what.partition(' ')[0]} files")
