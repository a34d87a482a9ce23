"""Moving and still pictures of what was found in a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medzoo.core.io.files import replacing
from medzoo.core.plots.figures import PREDICTION, TRUTH

_MOST, _SIDE = 64, 384  # frames of a picture that moves, and its longer side in pixels
_HELD, _SHOWN = 900, 60  # milliseconds of a key frame and of the others

Places = NDArray[np.float64]


def clip_overlay(
    path: Path, frames: NDArray[np.uint8], keys: Sequence[int], points: Places, lines: Places, size: tuple[int, int]
) -> None:
    """Write a GIF of a clip, with the scan line of the nearest key frame, and points in the key frames, which last.

    Args:
        path: Target, ending in `.gif`.
        frames: `(T, H, W)`.
        keys: The key frames.
        points: `(N, K, 2)` (x, y) in pixels of a picture of `size`, of each key frame; NaN where missing.
        lines: `(N, 2, 2)` likewise, two ends of each line.
        size: Width and height of the frames as they are stored, whose shape the picture has.
    """
    scale = _SIDE / max(size)
    shown = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    step = max(1, -(-len(frames) // _MOST))
    chosen = sorted({*range(0, len(frames), step), *keys})
    pictures, times = [], []
    for frame in chosen:
        picture = Image.fromarray(frames[frame]).convert("RGB").resize(shown)
        draw = ImageDraw.Draw(picture)
        key = min(range(len(keys)), key=lambda number: abs(keys[number] - frame)) if keys else None
        if key is not None and np.isfinite(lines[key]).all():
            draw.line([tuple(end) for end in (lines[key] + 0.5) * scale], fill=TRUTH)
        if frame in keys:
            for x, y in (points[list(keys).index(frame)] + 0.5) * scale:
                if np.isfinite((x, y)).all():
                    draw.ellipse([x - 3, y - 3, x + 3, y + 3], outline=PREDICTION, width=2)
        pictures.append(picture)
        times.append(_HELD if frame in keys else _SHOWN)
    with replacing(path) as part:
        pictures[0].save(part, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0)


def motion_picture(path: Path, images: Sequence[NDArray[np.uint8]], depths: Sequence[NDArray[np.float64]]) -> None:
    """Write a PNG of motion images side by side, with the depths that were found in the middle column.

    Args:
        path: Target, ending in `.png`.
        images: `(samples, columns)` each.
        depths: Of each the rows of its points; those that are NaN are left out.
    """
    scale = max(1, _SIDE // max(len(image) for image in images))
    parts = []
    for image, rows in zip(images, depths, strict=True):
        part = Image.fromarray(image).convert("RGB").resize((image.shape[1] * scale, image.shape[0] * scale))
        draw = ImageDraw.Draw(part)
        x = (image.shape[1] // 2 + 0.5) * scale
        for row in rows[np.isfinite(rows)]:
            y = (row + 0.5) * scale
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], outline=PREDICTION, width=2)
        parts.append(part)
    gap = 8
    whole = Image.new("RGB", (sum(p.width for p in parts) + gap * (len(parts) - 1), max(p.height for p in parts)))
    place = 0
    for part in parts:
        whole.paste(part, (place, 0))
        place += part.width + gap
    with replacing(path) as target:
        whole.save(target, format="PNG")
