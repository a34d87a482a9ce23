"""The option `size` of models and data: one number for equal sides, or one an axis, in the same words everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from medzoo.core.errors import ConfigError

SMALLEST, LARGEST = 16, 2**15
MOST = {2: 2**24, 3: 36_000_000}
"""Pixels of what a network sees or a phantom draws, and voxels of a drawn volume, at most."""
_PARTS = {2: "pixels", 3: "voxels"}
_AXES = {2: "[height, width]", 3: "[depth, height, width]"}


def sides(option: str, size: int | Sequence[int], least: int = SMALLEST) -> tuple[int, int]:
    """Return height and width.

    Args:
        option: Name of the option, such as `data.size`, for the message.
        size: One number for a square, or height and width.
        least: Fewest pixels of a side.

    Raises:
        ConfigError: It is neither, or a side is too small.
    """
    height, width = extents(option, size, 2, least)
    return height, width


def check_area(option: str, size: Sequence[int]) -> None:
    """Check that a machine can hold a picture or volume of this size: a setting costs a file nothing.

    Args:
        option: Name of the option, such as `data.pixels`, for the message.
        size: The extent along each of two or three axes.

    Raises:
        ConfigError: It has more than 4096² pixels or 36 million voxels, for which drawing takes about 3 GB.
    """
    most = MOST[len(size)]
    if prod(size) > most:
        given = " × ".join(map(str, size))
        raise ConfigError(f"--{option}: expected at most {most} {_PARTS[len(size)]} in all, got {given}")


def extents(option: str, size: int | Sequence[int], axes: int, least: int = SMALLEST) -> tuple[int, ...]:
    """Return the extent along each of two or three axes, see `sides`.

    Raises:
        ConfigError: The size is no number and not one number an axis, or an extent is too small or too large.
    """
    found = (size,) * axes if isinstance(size, int) else tuple(size)
    if len(found) != axes or min(found) < least or max(found) > LARGEST:
        given = size if isinstance(size, int) else list(size)
        raise ConfigError(f"--{option}: expected one number or {_AXES[axes]} from {least} to {LARGEST}, got {given}")
    return found
