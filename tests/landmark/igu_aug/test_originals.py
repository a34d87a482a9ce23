from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medzoo.core.geometry import resample, resize_affine
from medzoo.core.io import Header, Image
from medzoo.landmark.data.sources import Images
from medzoo.landmark.igu_aug.information import entropy_map
from medzoo.landmark.igu_aug.originals import OriginalEntropy

ORIGINAL = (128, 192)  # height and width; four times those of the network's image
SMALL = (32, 48)


class Drawn(Images):
    """Left half constant, right half a checkerboard of single pixels, which resizing turns grey."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, name: str) -> Image:
        self.reads += 1
        y, x = np.indices(ORIGINAL)
        return Image(np.where(x < 96, 0.5, (x + y) % 2).astype(np.float32), None, name)

    def header(self, name: str) -> Header:
        raise NotImplementedError(name)


@pytest.fixture
def batch() -> dict[str, Any]:
    affine = resize_affine(ORIGINAL[::-1], SMALL[::-1])
    small = resample(Drawn().read("a").array, affine, SMALL[::-1])
    return {
        "image": torch.from_numpy(small)[None, None],
        "affine": torch.from_numpy(affine)[None],
        "id": ["a"],
        "domain": torch.tensor([1]),
    }


def test_the_entropy_is_of_the_original_image_and_not_of_the_resized_one(batch: dict[str, Any]) -> None:
    entropy = OriginalEntropy(radius=3)(Drawn(), batch)
    assert entropy.shape == (1, *SMALL)
    assert entropy[0, :, :22].max() < 0.01
    assert entropy[0, :, 27:].min() > 0.98  # black and white alike: one bit
    assert entropy_map(batch["image"], 3)[0, 4:-4, 30:-4].max() < 0.01


def test_each_original_is_read_once(batch: dict[str, Any]) -> None:
    images, entropies = Drawn(), OriginalEntropy(radius=3)
    first, again = entropies(images, batch), entropies(images, batch)
    assert images.reads == 1
    torch.testing.assert_close(first, again, rtol=0, atol=0)
