"""Numbers and sizes of phantoms, which cost a configuration or a checkpoint nothing, have bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medzoo.anomaly.data.ct_phantom import CtPhantoms
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.core.errors import ConfigError
from medzoo.core.phantoms.textures import CATEGORIES, DEFECTS, POSES, textured
from medzoo.landmark.data.phantoms import LandmarkPhantoms

BEYOND: list[tuple[Callable[[], Any], str]] = [
    (lambda: TexturePhantoms(pixels=4097), r"--data.pixels: expected at most 16777216 pixels in all, got 4097 × 4097"),
    (lambda: TexturePhantoms(pixels=0), "--data.pixels: expected"),
    (lambda: TexturePhantoms(pixels=10**30), "--data.pixels: expected"),
    (lambda: TexturePhantoms(train=10_001), "--data.train: expected at least 0 and at most 10000"),
    (lambda: TexturePhantoms(test=10_001), "--data.test: expected"),
    (lambda: TexturePhantoms(size=2**15), "--data.size: expected at most 16777216 pixels"),
    (lambda: CtPhantoms(size=400), "--data.size: expected at most 36000000 voxels in all"),
    (lambda: CtPhantoms(size=[16, 2**15, 2**15]), "--data.size: expected at most"),
    (lambda: CtPhantoms(voxel_mm=0.5), "--data.voxel_mm: expected 0.8 to 12"),
    (lambda: CtPhantoms(test=10_001), "--data.test: expected"),
    (lambda: LandmarkPhantoms(image_size=2**15), "--data.image_size: expected at most 16777216 pixels"),
    (lambda: LandmarkPhantoms(n_test=10_001), "--data.n_test: expected"),
    (lambda: LandmarkPhantoms(n_train=0), "--data.n_train: expected at least 1"),
]


@pytest.mark.parametrize("number", range(len(BEYOND)))
def test_what_is_beyond_the_bounds_is_refused(number: int) -> None:
    make, told = BEYOND[number]
    with pytest.raises(ConfigError, match=told):
        make()


def test_what_a_scanner_has_is_within_them() -> None:
    TexturePhantoms(pixels=4096)
    CtPhantoms(voxel_mm=0.8)
    LandmarkPhantoms(image_size=[2048, 4096])


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_smallest_pictures_can_be_drawn_with_every_defect(category: str) -> None:
    for defect in DEFECTS:
        for seed in range(3):
            made = textured(category, seed, (16, 16), defect, POSES["free"])
            assert np.isfinite(made.image).all()
