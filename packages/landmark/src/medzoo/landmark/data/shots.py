"""Which training images are the annotated ones: named by the user, usual in the papers, or typical in appearance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.geometry import resample, resize_affine
from medzoo.core.io.listing import stem
from medzoo.core.spelling import nearest
from medzoo.landmark.data.sources import Images, LandmarkSource

Wanted = int | str | Sequence[str | int]
ALL = "all"
"""The value of the option that annotates every training image that has a label."""
_SIDE = 32
_MOST = 128
"""Images compared at most, so that the choice takes seconds whatever the size of the data."""


def named(wanted: Wanted) -> tuple[str, ...]:
    """Return the names that the option gives; none where it is a number or `"all"`."""
    if isinstance(wanted, int) or wanted == ALL:
        return ()
    return (wanted,) if isinstance(wanted, str) else tuple(str(name) for name in wanted)


def resolve(name: str, names: Sequence[str]) -> str | None:
    """Return the image called `name`, with or without ending; a number matches with or without leading zeros."""
    if name in names:
        return name
    if stem(name) in names:
        return stem(name)
    if name.isdigit():
        return next((known for known in names if known.isdigit() and int(known) == int(name)), None)
    return None


def find_shots(source: LandmarkSource, wanted: Wanted) -> tuple[str, ...]:
    """Return the shots that are known without looking at images: named ones, all, or those that the papers use.

    Raises:
        ConfigError: The number of shots is negative, or reads like the name of an image.
        DataError: A named image does not exist, is not a training image, or has no label.
    """
    root = source.domain.name
    if isinstance(wanted, int):
        if wanted < 0:
            raise ConfigError(f"--data.shots: expected at least 0 or a list of image names, got {wanted}")
        if str(wanted) in source.names:
            raise ConfigError(
                f"--data.shots {wanted} asks for {wanted} shots; for the image of that name write [{wanted}]"
            )
        usual = tuple(name for name in source.usual_shots if name in source.split.train)[:wanted]
    elif wanted == ALL:
        usual = tuple(filter(source.labelled, source.split.train))
        if not usual:
            raise DataError(
                source.label_path(source.split.train[0]),
                "is missing, as are all other training labels",
                "annotate some",
            )
    else:
        usual = tuple(_train_image(source, name) for name in named(wanted))
        if not usual:
            raise ConfigError(f"--data.shots: no image is named for domain {root!r}")
    for name in usual:
        if not source.labelled(name):
            raise DataError(
                source.label_path(name), f"is missing: image {name} is the shot", "annotate it or choose another"
            )
    return tuple(dict.fromkeys(usual))


def _train_image(source: LandmarkSource, name: str) -> str:
    train = source.split.train
    found = resolve(name, train)
    if found is not None:
        return found
    elsewhere = resolve(name, source.names)
    if elsewhere is not None:
        raise ConfigError(f"--data.shots: image {elsewhere!r} is not a training image of {source.domain.name!r}")
    close = nearest(name, train, 3, 0.3) or list(train[:3])
    raise ConfigError(f"--data.shots: no image {name!r} in {source.domain.name!r}; did you mean {', '.join(close)}?")


def choose_shots(source: LandmarkSource, wanted: Wanted) -> tuple[str, ...]:
    """Return the shots of a domain; where names are neither given nor usual, the most typical images that have labels.

    Typical means: of all choices, the image with the least summed distance to the training images, compared as small
    pictures of local contrast (the medoid); each further shot lowers the sum of the distances to the
    nearest shot most. No label is read for it.

    Raises:
        DataError: Fewer images have labels than shots are asked for.
    """
    shots = list(find_shots(source, wanted))
    count = wanted if isinstance(wanted, int) else len(shots)
    if len(shots) >= count:
        return tuple(shots)
    candidates = [name for name in source.split.train if name not in shots and source.labelled(name)]
    if len(candidates) < count - len(shots):
        have, where = len(candidates) + len(shots), source.label_path(source.split.train[0])
        cure = f"annotate {count - have} more image{'s' if count - have > 1 else ''} or lower --data.shots"
        raise DataError(
            where, f"{have} training images of {source.domain.name!r} have labels, expected {count} shots", cure
        )
    if len(candidates) == count - len(shots):
        return (*shots, *candidates)
    candidates = _thin(candidates)
    seen = sorted({*_thin(source.split.train), *candidates, *shots})
    looks = appearances(source.images, seen)
    distances = np.linalg.norm(looks[:, None] - looks[None], axis=-1)  # (N, N)
    return tuple(_spread(seen, distances, shots, candidates, count))


def appearances(images: Images, names: Sequence[str]) -> NDArray[np.float32]:
    """Return small pictures `(N, 1024)` of local contrast, which shows the anatomy whatever the exposure."""
    looks = np.empty((len(names), _SIDE * _SIDE), np.float32)
    for row, name in enumerate(names):
        array = images.thumbnail(name).array
        small = _shrink(array, 2 * _SIDE)
        detail = small - gaussian_filter(small, _SIDE / 4)
        local = np.sqrt(gaussian_filter(detail**2, _SIDE / 4) + 1e-4)
        looks[row] = _shrink(detail / local, _SIDE).ravel()
    return looks


def _shrink(array: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return resample(array, resize_affine(array.shape[::-1], (side, side)), (side, side))


def _thin(names: Sequence[str]) -> list[str]:
    """Take at most 128 names, evenly spaced in order."""
    keep = min(_MOST, len(names))
    return [names[i * len(names) // keep] for i in range(keep)]


def _spread(
    seen: Sequence[str], distances: NDArray[np.float32], shots: list[str], candidates: list[str], count: int
) -> list[str]:
    rows = {name: row for row, name in enumerate(seen)}
    nearest = np.min([distances[rows[name]] for name in shots], axis=0) if shots else np.full(len(seen), np.inf)
    chosen = list(shots)
    while len(chosen) < count:
        left = [name for name in candidates if name not in chosen]
        best = min(left, key=lambda name: float(np.minimum(nearest, distances[rows[name]]).sum()))
        nearest = np.minimum(nearest, distances[rows[best]])
        chosen.append(best)
    return chosen
