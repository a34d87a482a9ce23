"""Splits that depend on a seed and on names alone, never on labels, and that keep a patient's images together."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import Column, read_table
from medzoo.core.io.columns import columns_of
from medzoo.core.io.listing import stem


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


def read_patients(root: Path, names: Collection[str] | None = None) -> dict[str, str]:
    """Return the patient of each image from `metadata.csv` in the root; empty without such a file or column.

    The image is the column `name`, `id`, `image`, `filename` or `file` (with or without suffix), the patient `patient`,
    `patient_id`, `patientid` or `subject`.

    Args:
        root: The folder of the data set.
        names: The images, where the table must name one at least: with other names it would keep no patient together.

    Raises:
        DataError: The table cannot be read, or names none of them.
    """
    path = root / "metadata.csv"
    if not path.is_file():
        return {}
    found = {name.casefold(): name for name in columns_of(path)}
    image = next((found[name] for name in ("name", "id", "image", "filename", "file") if name in found), None)
    patient = next((found[name] for name in ("patient", "patient_id", "patientid", "subject") if name in found), None)
    if image is None or patient is None:
        return {}
    table = read_table(path, [image, Column(patient, optional=True)])
    pairs = zip(table.texts(image), table.texts(patient), strict=True)
    patients = {stem(name): f"patient {person}" for name, person in pairs if person}
    if names is not None and patients and patients.keys().isdisjoint(names):
        problem = f"names no image of the folder; its first is {next(iter(patients))!r}"
        raise DataError(path, problem, "write the names of the image files")
    return patients
