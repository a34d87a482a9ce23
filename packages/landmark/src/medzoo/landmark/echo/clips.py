"""Clips with their annotations, and how they become samples."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medzoo.core.geometry.affine import resize_affine
from medzoo.core.geometry.resample import resample
from medzoo.landmark.echo.task import EchoSample


@dataclass(frozen=True)
class Clip:
    """A clip as it is stored.

    Attributes:
        frames: `(T, H, W)` uint8.
        rate: Frames a second, NaN where unknown.
        spacing: mm per pixel along x, y; NaN where unknown.
        keys: The key frames.
        phases: Of each, `d` or `s`.
        points: `(N, 4, 2)` in pixels at the key frames, NaN where missing; None without annotation.
        lines: `(N, 2, 2)`, two points of each scan line in pixels, NaN where there is none.
        placed: `(N,)`, whether a person placed that line; the others follow from the points.
    """

    frames: NDArray[np.uint8]
    rate: float
    spacing: tuple[float, float]
    keys: tuple[int, ...]
    phases: tuple[str, ...]
    points: NDArray[np.float64] | None
    lines: NDArray[np.float64]
    placed: NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """A clip that can be loaded.

    Attributes:
        name: Unique in its source.
        load: Reads or draws it.
        patient: Whose it is; empty where nobody knows.
        path: Its file; empty for a phantom.
        source: What it comes from.
        frame: Returns width and height of its frames; None where all clips have the same.
    """

    name: str
    load: Callable[[], Clip]
    patient: str = ""
    path: str = ""
    source: str = "plax"
    frame: Callable[[], tuple[int, int]] | None = None


class Clips(Dataset[EchoSample]):
    """Clips as samples, the last used of which stay in memory at one byte a pixel.

    Args:
        items: The clips.
        size: Height and width that the network sees; None takes the stored ones.
        labels: Give samples their landmarks.
        memory: Bytes for clips that stay.
    """

    def __init__(self, items: Sequence[Item], size: tuple[int, int] | None, labels: bool, memory: int) -> None:
        self.items, self.size, self.labels, self.memory = list(items), size, labels, memory
        self._kept: OrderedDict[int, Clip] = OrderedDict()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def groups(self) -> list[int]:
        """Group of each clip: those whose frames the network sees in different sizes never share a batch."""
        sizes = [None if self.size or item.frame is None else item.frame() for item in self.items]
        numbers = {size: number for number, size in enumerate(dict.fromkeys(sizes))}
        return [numbers[size] for size in sizes]

    def __getitem__(self, index: int | tuple[int, int]) -> EchoSample:
        """Return a sample, indexed with its number or, in training, with (number, epoch)."""
        number = index[0] if isinstance(index, tuple) else index
        item, clip = self.items[number], self._clip(number)
        height, width = clip.frames.shape[1:]
        size = self.size or (height, width)
        affine = resize_affine((width, height), (size[1], size[0]))
        frames = torch.from_numpy(clip.frames).float() / 255
        if size != (height, width):
            frames = resample(frames, affine, (size[1], size[0]))
        sample: EchoSample = {
            "id": item.name,
            "path": item.path,
            "source": item.source,
            "patient": item.patient,
            "clip": frames,
            "rate": clip.rate,
            "keys": torch.tensor(clip.keys),
            "phases": list(clip.phases),
            "affine": torch.from_numpy(affine),
            "original_size": torch.tensor([width, height]),
            "spacing": torch.tensor(clip.spacing),
            "lines": torch.from_numpy(clip.lines).float(),
            "placed": torch.from_numpy(clip.placed),
        }
        if self.labels and clip.points is not None:
            sample["landmarks"] = torch.from_numpy(clip.points).float()
        return sample

    def _clip(self, number: int) -> Clip:
        clip = self._kept.pop(number, None) or self.items[number].load()
        self._kept[number] = clip
        while len(self._kept) > 1 and sum(kept.frames.nbytes for kept in self._kept.values()) > self.memory:
            self._kept.popitem(last=False)
        return clip


def lines_through(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scan lines of annotated points, which lead through the first and the last known point of each frame.

    Args:
        points: `(N, K, 2)` in pixels, NaN where missing.

    Returns:
        `(N, 2, 2)`, NaN where less than two points are known.
    """
    lines = np.full((len(points), 2, 2), np.nan)
    for line, row in zip(lines, points, strict=True):
        known = row[np.isfinite(row).all(axis=1)]
        if len(known) > 1:
            line[:] = known[[0, -1]]
    return lines


def in_network(points: Tensor, affine: Tensor) -> Tensor:
    """Map points `(…, 2)` in original pixels of a clip to the network's, float64."""
    return points.double() @ affine[:, :2].double().T + affine[:, 2].double()
