"""Scan lines of a batch of clips, and what the network sees of each key frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from medzoo.core.sample import Batch
from medzoo.landmark.echo.clips import in_network
from medzoo.landmark.echo.scan_line import ScanLine, fitted_line, line_through, motion_image

Lines = list[ScanLine | None]
"""The line of each key frame of a batch, clip after clip; None where there is none."""


def given_lines(batch: Batch) -> Lines:
    """Return the lines that come with the clips, in pixels of what the network sees."""
    pairs = zip(batch["lines"], batch["affine"].cpu(), strict=True)
    return lines_along(torch.cat([in_network(lines.cpu(), affine) for lines, affine in pairs]), batch)


def with_placed(lines: Lines, batch: Batch) -> Lines:
    """Return lines that a method found, or those that a person placed where there are such."""
    placed = torch.cat(list(batch["placed"])).tolist()
    return [own if by_person else line for by_person, own, line in zip(placed, given_lines(batch), lines, strict=True)]


def lines_along(ends: Tensor, batch: Batch) -> Lines:
    """Return the lines through two points each, `(M, 2, 2)` in pixels of what the network sees."""
    return [_or_none(partial(line_through, first, last), batch) for first, last in ends.cpu()]


def fitted_lines(points: Tensor, batch: Batch) -> Lines:
    """Return the lines that fit points `(M, K, 2)` in pixels best."""
    return [_or_none(partial(fitted_line, own), batch) for own in points.detach().cpu()]


def _or_none(make: Callable[[tuple[int, int]], ScanLine], batch: Batch) -> ScanLine | None:
    height, width = batch["clip"].shape[2:]
    try:
        return make((height, width))
    except ValueError:  # its points are NaN, the same or outside the frame
        return None


def pixel_mm(batch: Batch) -> Tensor:
    """Return mm per pixel of what the network sees along x, y of each key frame, `(M, 2)` float64."""
    scales: Tensor = batch["affine"].cpu().diagonal(dim1=1, dim2=2)
    own: Tensor = batch["spacing"].cpu().double() / scales
    return own.repeat_interleave(torch.tensor([len(keys) for keys in batch["keys"]]), dim=0)


def key_frames(batch: Batch) -> Tensor:
    """Return the key frames of a batch, `(M, 1, H, W)`."""
    return torch.cat([clip[keys] for clip, keys in zip(batch["clip"], batch["keys"], strict=True)])[:, None]


def motion_images(batch: Batch, lines: Sequence[ScanLine | None], columns: int) -> Tensor:
    """Return the motion images of the key frames, `(M, 1, max(H, W), columns)`; zeros where there is no line."""
    images, shares = [], iter(lines)
    for clip, length, keys in zip(batch["clip"], batch["clip_length"].tolist(), batch["keys"], strict=True):
        for key in keys.tolist():
            line = next(shares)
            empty = clip.new_zeros(max(clip.shape[1:]), columns)
            images.append(empty if line is None else motion_image(clip[:length], line, key, columns))
    return torch.stack(images)[:, None]


def annotated_points(batch: Batch) -> Tensor:
    """Return the annotated points of the key frames, `(M, 4, 2)` float64 in pixels of what the network sees."""
    pairs = zip(batch["landmarks"], batch["affine"].cpu(), strict=True)
    return torch.cat([in_network(points.cpu(), affine) for points, affine in pairs])


def depths(points: Tensor, lines: Sequence[ScanLine | None]) -> Tensor:
    """Project points `(M, K, 2)` onto their lines, `(M, K)`; NaN where there is none."""
    pairs = zip(points, lines, strict=True)
    return torch.stack([p.new_full(p.shape[:1], torch.nan) if line is None else line.to_depth(p) for p, line in pairs])


def on_lines(rows: Tensor, lines: Sequence[ScanLine | None]) -> Tensor:
    """Bring depths `(M, K)` back into the frame, `(M, K, 2)`, on their device and with gradients to them."""
    points = []
    for own, line in zip(rows, lines, strict=True):
        if line is None:
            points.append(torch.full((*own.shape, 2), torch.nan).to(own))
        else:
            points.append(line.start.to(own) + own[:, None] * line.step.to(own))
    return torch.stack(points)


def ends(lines: Sequence[ScanLine | None]) -> Tensor:
    """Return the two ends of each line, `(M, 2, 2)` float64; NaN where there is none."""
    none = torch.full((2, 2), torch.nan, dtype=torch.float64)
    return torch.stack([none if line is None else torch.stack([line.start, line.end]) for line in lines])


def step_mm(lines: Sequence[ScanLine | None], batch: Batch) -> Tensor:
    """Return the distance between samples of each line in mm, `(M,)` float64; NaN where there is none."""
    none = torch.full((2,), torch.nan, dtype=torch.float64)
    steps = torch.stack([none if line is None else line.step for line in lines])
    lengths: Tensor = torch.linalg.vector_norm(steps * pixel_mm(batch), dim=1)
    return lengths
