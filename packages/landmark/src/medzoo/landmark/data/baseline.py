"""What a model is measured against: repeating the shot's landmarks on every image, and a second annotator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from medzoo.core.errors import raise_all
from medzoo.core.geometry import apply, resize_affine
from medzoo.core.metrics import radial_errors
from medzoo.landmark.data.checks import check_image
from medzoo.landmark.data.datasets import read_points
from medzoo.landmark.data.module import LandmarkDataModule
from medzoo.landmark.data.sources import LandmarkSource, Size


def copy_shot_baseline(datamodule: LandmarkDataModule) -> dict[str, float]:
    """Return `<domain>/mre_<unit>` of copying the shot's landmarks to the same relative place of each test image.

    Of several shots the mean error counts. Only headers and labels are read.

    Args:
        datamodule: A landmark data module with shots and a labelled test set; domains without either are left out.

    Raises:
        DataError: A header or a label cannot be read.
    """
    scores = {}
    for source, shots in zip(datamodule.sources, datamodule.shot_ids, strict=True):
        test = [name for name in source.split.test if source.labelled(name)]
        if shots and test:
            scores[f"{source.domain.name}/mre_{source.domain.unit}"] = copying_error(source, shots, test)
    return scores


def copied_shot(datamodule: LandmarkDataModule) -> Callable[[], dict[str, float]]:
    """Return what computes `<domain>/copy_shot_mre_<unit>`, see `copy_shot_baseline`."""

    def found() -> dict[str, float]:
        errors = copy_shot_baseline(datamodule)
        return {f"{name.rpartition('/')[0]}/copy_shot_{name.rpartition('/')[2]}": e for name, e in errors.items()}

    return found


def copying_error(source: LandmarkSource, shots: tuple[str, ...], test: list[str]) -> float:
    """Return the mean radial error over shots, images and visible landmarks, in the domain's unit."""
    templates = []
    for name in shots:
        size = _size(source, name)
        templates.append((read_points(source, name, size), size))
    errors = []
    for name in test:
        size = _size(source, name)
        truth = read_points(source, name, size)
        scale = np.array(source.scale(name, truth, size))
        for points, shot_size in templates:
            guess = apply(resize_affine(shot_size, size), points)
            errors.append(np.linalg.norm((guess - truth) * scale, axis=1))
    return float(np.nanmean(np.concatenate(errors)))


def observer_errors(datamodule: LandmarkDataModule) -> dict[str, Tensor]:
    """Return the distances `(N, K)` between two annotators of the test images, for the domains that have two.

    Images that one of the two has not annotated are left out. Only headers and labels are read.

    Raises:
        DataError: A header or a label cannot be read.
    """
    found = {}
    for source in datamodule.sources:
        rows = []
        for name in source.split.test:
            size = _size(source, name)
            pair = source.observers(name, size)
            if pair is not None:
                one, other = (torch.from_numpy(points)[None] for points in pair)
                scale = torch.tensor([source.scale(name, pair[0], size)], dtype=torch.float64)
                known = (one.isfinite() & other.isfinite()).all(dim=2)
                rows.append(radial_errors(one, other, known, scale))
        if rows:
            found[source.domain.name] = torch.cat(rows)
    return found


def _size(source: LandmarkSource, name: str) -> Size:
    size, faults = check_image(source.images, name)
    raise_all(faults)
    assert size is not None
    return size
