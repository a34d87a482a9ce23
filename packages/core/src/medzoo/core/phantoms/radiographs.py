"""The radiographs on offer: anatomies by name, and the one door that makes an image of a seed.

A further anatomy is a file with `SETUP`, `NAMES` and `draw(rng) -> Drawing` (outlines in mm with their attenuation, and
the landmarks among their vertices), and one line in `ANATOMIES`; pose, warp, noise and exposure come from `physics`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medzoo.core.phantoms import chest, hand, head
from medzoo.core.phantoms.physics import Image, Pose, Setup, attenuation, collimate, expose, shutter
from medzoo.core.phantoms.shapes import Array, Drawing


@dataclass(frozen=True)
class Anatomy:
    """A part of the body that can be drawn.

    Args:
        name: Name on the command line.
        landmarks: Names of the points, in order.
        setup: How it is commonly imaged.
        draw: Draws one subject in mm from a generator.
    """

    name: str
    landmarks: tuple[str, ...]
    setup: Setup
    draw: Callable[[np.random.Generator], Drawing]


@dataclass(frozen=True)
class Phantom:
    """An image that was drawn, and what is known of it.

    Args:
        image: `(H, W)` float32 in [0, 1], dense bodies bright.
        landmarks: `(K, 2)` float64 x, y in pixels, origin at the centre of the first pixel, exact.
        spacing: mm per pixel along x and y.
        names: The K names of the landmarks.
    """

    image: Image
    landmarks: Array
    spacing: tuple[float, float]
    names: tuple[str, ...]


ANATOMIES: dict[str, Anatomy] = {
    "head": Anatomy("head", head.NAMES, head.SETUP, head.draw),
    "hand": Anatomy("hand", hand.NAMES, hand.SETUP, hand.draw),
    "chest": Anatomy("chest", chest.NAMES, chest.SETUP, chest.draw),
}


def radiograph(anatomy: str, seed: int | tuple[int, ...], size: int | tuple[int, int] = 256) -> Phantom:
    """Draw the radiograph of a subject.

    The seed fixes the subject, its pose and its exposure; another size shows the same subject in the same field, its
    landmarks at `(x + 0.5) * s - 0.5`. Only the noise is drawn anew for each size. Images are equal to the last bit on
    one kind of processor with one version of numpy; elsewhere sums are rounded differently and a pixel in thousands
    may fall on the next of the 4096 levels.

    Args:
        anatomy: A key of `ANATOMIES`.
        seed: One or several integers >= 0, such as `(split, number)`.
        size: Height and width in pixels, or one number for both; at least 16.

    Raises:
        ValueError: If the anatomy is unknown, the seed negative or the size too small.
    """
    if anatomy not in ANATOMIES:
        raise ValueError(f"anatomy is {anatomy!r}, expected one of {', '.join(ANATOMIES)}")
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 16:
        raise ValueError(f"size is {height} x {width}, expected at least 16 pixels along each side")
    entropy = (seed,) if isinstance(seed, int | np.integer) else tuple(seed)
    if not entropy or min(entropy) < 0:
        raise ValueError(f"seed is {seed!r}, expected one or several integers >= 0")
    kind = ANATOMIES[anatomy]
    # Own streams for subject, exposure and noise: a body that takes one more number must not change the others.
    # The seeds pass through a digest, since a seed sequence takes (1,) and (1, 0) for the same.
    text = "/".join((anatomy, *(str(int(value)) for value in entropy)))
    stem = np.random.SeedSequence(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))
    subject, pose_rng, exposure, grain = (np.random.default_rng(child) for child in stem.spawn(4))
    drawing = kind.draw(subject)
    landmarks = drawing.landmarks
    pose = Pose(pose_rng, kind.setup, landmarks)
    placed = pose(landmarks)
    image = expose(attenuation(drawing, pose, (height, width)), exposure, grain, kind.setup)
    if exposure.random() < kind.setup.shutter:
        image = collimate(image, exposure, shutter(exposure, placed, (height, width)))
    spacing = (float(pose.field[0]) / width, float(pose.field[1]) / height)
    return Phantom(image, placed * (width, height) - 0.5, spacing, kind.landmarks)
