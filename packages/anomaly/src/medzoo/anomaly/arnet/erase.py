"""Operations that erase an attribute which all normal images share: colour, and how an image is turned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError

Erase = Callable[[Tensor], Tensor]
"""From `(B, C, H, W)` to what is left, `(B, C', H, W)`."""
_ANGLES = (0, 90, 180, 270)


def grey(images: Tensor) -> Tensor:
    """Return the mean of the channels, `(B, 1, H, W)`."""
    return images.mean(1, keepdim=True)


def turned(angle: int) -> Erase:
    """Return the operation that turns images by a multiple of 90 degrees.

    Raises:
        ConfigError: It is none of 0, 90, 180 and 270.
    """
    if angle not in _ANGLES:
        raise ConfigError(f"--model.angles: expected some of {', '.join(map(str, _ANGLES))}, got {angle}")
    return lambda images: torch.rot90(images, angle // 90, (-2, -1))


def operations(angles: list[int], colour: bool) -> list[Erase]:
    """Return one operation for each angle: grey first where colour is erased, then turned.

    Args:
        angles: Degrees.
        colour: Whether to erase colour.
    """
    return [_after_grey(turned(angle)) if colour else turned(angle) for angle in angles]


def _after_grey(turn: Erase) -> Erase:
    return lambda images: turn(grey(images))
