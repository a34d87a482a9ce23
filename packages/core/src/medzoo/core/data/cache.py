"""A bounded memory of decoded images, shared by the loader processes of a run."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, str]
"""Domain index and image name."""
_META = 5  # filled, width, height, spacing x, spacing y


class Prepared(NamedTuple):
    """An image at network size and what its original was."""

    image: NDArray[np.float16]
    """`(H, W)` in [0, 1]. Half precision is finer than 8 bits a pixel and halves the memory."""
    size: tuple[int, int]
    """Width and height of the original."""
    spacing: tuple[float, float]
    """mm per original pixel along x and y, NaN where unknown."""


class ImageCache:
    """Slots for the first images that fit into a limit; the others are decoded again each time.

    In a shuffled pass over all images a fixed choice hits as often as any policy that evicts, and it needs no lock: two
    processes that fill one slot write the same values. The memory is an anonymous map that forked loader processes
    share (it does not count against /dev/shm) and that takes real memory only as slots are filled.

    Args:
        keys: All images, in the order of preference.
        shape: Height and width of the images.
        limit: Most bytes to use.
        processes: Loader processes; those that are spawned instead of forked get a share of the limit each.
    """

    def __init__(self, keys: Sequence[Key], shape: tuple[int, int], limit: int, processes: int = 0) -> None:
        self._keys, self._shape, self._limit, self._processes = tuple(keys), shape, limit, processes
        each = 2 * shape[0] * shape[1] + 8 * _META
        count = min(len(self._keys), max(0, limit) // each)
        self.nbytes = count * each
        self._slots = {key: slot for slot, key in enumerate(self._keys[:count])}
        if count:
            memory = mmap.mmap(-1, self.nbytes)
            self._meta = np.frombuffer(memory, np.float64, count * _META).reshape(count, _META)
            pixels = np.frombuffer(memory, np.float16, offset=8 * count * _META)
            self._pixels = pixels.reshape(count, *shape)

    def __len__(self) -> int:
        return len(self._slots)

    def __reduce__(self) -> tuple[type[ImageCache], tuple[Sequence[Key], tuple[int, int], int, int]]:
        return ImageCache, (self._keys, self._shape, self._limit // max(1, self._processes), 0)

    def get(self, key: Key) -> Prepared | None:
        """Return an image that was put before; `None` where there is none."""
        slot = self._slots.get(key)
        if slot is None or not self._meta[slot, 0]:
            return None
        _, width, height, sx, sy = self._meta[slot].tolist()
        return Prepared(self._pixels[slot], (int(width), int(height)), (sx, sy))

    def put(self, key: Key, prepared: Prepared) -> None:
        """Keep an image if it has a slot."""
        slot = self._slots.get(key)
        if slot is None:
            return
        self._pixels[slot] = prepared.image
        self._meta[slot, 1:] = (*prepared.size, *prepared.spacing)
        self._meta[slot, 0] = 1  # last, so that no other process takes a half-written image
