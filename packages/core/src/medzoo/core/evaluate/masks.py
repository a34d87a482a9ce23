"""Masks: overlap of the marked pixels of two folders of images or volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.evaluate.cases import File, Key, Options, about, facts_of, join
from medzoo.core.evaluate.judged import Figure, Floats, Judged, Row
from medzoo.core.io import read_header, read_image
from medzoo.core.io.listing import image_files, no_image, stem
from medzoo.core.io.nifti import offset_mm, same_place

FIGURES = ("dice", "iou", "sensitivity", "precision")


def judge_masks(predictions: str, truth: str, cases: File | None, options: Options) -> Judged:
    """Return the overlap of masks, a mean over cases; what is not zero is marked.

    `dice` is `2 |P ∩ G| / (|P| + |G|)` and `iou` is `|P ∩ G| / |P ∪ G|`, both 1 where both masks are empty.
    `sensitivity`, `|P ∩ G| / |G|`, is left out of the mean where the truth is empty, and `precision`, `|P ∩ G| / |P|`,
    where the prediction is.

    Args:
        predictions: Folder of masks; files are brought together by their names without ending.
        truth: Likewise.
        cases: Table with patients and groups; None where there is none.
        options: What to read of it.

    Raises:
        DataError: A folder holds no image or a JPEG, no name is in both, a file cannot be read, or two differ in size
            or in their place in the patient.
    """
    guessed, known = _files(Path(predictions)), _files(Path(truth))
    joined = join(guessed, known, predictions)
    named = about(cases, options) if cases is not None else {}
    facts = {(key[0], stem(key[1])): value for key, value in named.items()}
    rows: list[Row] = []
    values = np.empty((len(joined.keys), len(FIGURES)))
    for i, key in enumerate(joined.keys):
        values[i] = overlap(joined.predicted[i], joined.truth[i])
        row = dict(zip(FIGURES, values[i].tolist(), strict=True))
        identity = {"id": key[1], "source": "", **facts_of(facts, key, options.groups)}
        rows.append({**identity, **row, "error": 1 - row["dice"]})
    return Judged(rows, FIGURES, lambda index: _figure(values[index]), joined.unpredicted, joined.unknown)


def _files(folder: Path) -> dict[Key, str]:
    files = {("", name): path for name, path in image_files(folder).items()}
    if not files:
        raise no_image(folder, "give the folder of the masks")
    lossy = next((path for path in files.values() if path.lower().endswith((".jpg", ".jpeg"))), None)
    if lossy is not None:
        raise DataError(lossy, "is a JPEG file, whose pixels beside a border are not 0", "save masks as PNG")
    return files


def overlap(predicted: str, truth: str) -> tuple[float, float, float, float]:
    """Return the figures of two files, NaN where one has no value.

    Raises:
        DataError: A file cannot be read, or the two differ in size or in their place in the patient.
    """
    guess, target = (read_image(path).array != 0 for path in (predicted, truth))
    if guess.shape != target.shape:
        sizes = " × ".join(map(str, guess.shape[::-1])), " × ".join(map(str, target.shape[::-1]))
        raise DataError(predicted, f"is {sizes[0]}, its truth {sizes[1]}", "bring the mask to the grid of the original")
    place, own = read_header(predicted), read_header(truth)
    if not same_place(place, own):
        problem = f"lies up to {offset_mm(place, own):.3g} mm from its truth, by the affines of both"
        raise DataError(predicted, problem, "bring the mask to the grid of the original")
    shared, marked, wanted = (int(part.sum()) for part in (guess & target, guess, target))
    whole = marked + wanted
    dice = 2 * shared / whole if whole else 1.0
    iou = shared / (whole - shared) if whole else 1.0
    return dice, iou, shared / wanted if wanted else np.nan, shared / marked if marked else np.nan


def _figure(values: Floats) -> Figure:
    known: NDArray[np.bool_] = ~np.isnan(values)
    filled = np.where(known, values, 0.0)

    def figure(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            means: Floats = weights @ filled / (weights @ known)
        return means

    return figure
