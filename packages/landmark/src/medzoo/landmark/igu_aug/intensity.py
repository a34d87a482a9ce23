"""How strongly pixels may be augmented: as much as their look changes between images of the same anatomy (InfoMin)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from medzoo.landmark.igu_aug.information import Indicator, entropy_map, mutual_information
from medzoo.landmark.igu_aug.sampling import CLASSES, OPERATORS, Interval, Intervals, classify
from medzoo.landmark.matching.patches import read

Find = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Finds points `(1, K, 2)` of an image `(1, 1, H, W)` in images `(N, 1, H, W)`: `(N, K, 2)`."""

STEPS = {"brightness": 0.03, "contrast": 0.04}
"""Steps of the factors (public code)."""


@dataclass(frozen=True)
class Search:
    """How intensities are estimated.

    Attributes:
        indicator: Which mutual information.
        borders: Entropies where the medium and the high class begin, in bits.
        radius: Radius of the neighbourhoods that entropy is taken of, in pixels.
        side: Side in pixels of the patches between which information is taken (public code: 64).
        points: Salient points of each class and image.
        limits: Factors that are not passed, whatever the information says.
    """

    indicator: Indicator = "joint"
    borders: Interval = (2.0, 4.5)
    radius: int = 10
    side: int = 64
    points: int = 20
    limits: Interval = (0.1, 3.0)


def salient_points(image: Tensor, allowed: Tensor, count: int) -> Tensor:
    """Return the strongest extrema of a difference of Gaussians over four scales, the detector of SIFT.

    Args:
        image: `(H, W)`.
        allowed: `(H, W)` bool, where points may lie.
        count: Number of points at most.

    Returns:
        `(K, 2)` (x, y), the strongest first; none where nothing is allowed.
    """
    pixels = image.cpu().double().numpy()
    blurred = np.stack([ndimage.gaussian_filter(pixels, 1.6 * 2 ** (i / 2)) for i in range(5)])
    strength = np.abs(np.diff(blurred, axis=0)).max(axis=0)
    peaks = (strength == ndimage.maximum_filter(strength, 7)) & allowed.cpu().numpy() & (strength > 1e-6)
    y, x = np.nonzero(peaks)
    best = np.argsort(-strength[y, x], kind="stable")[:count]
    return torch.from_numpy(np.stack([x[best], y[best]], axis=-1)).float().to(image.device)


def around(image: Tensor, points: Tensor, side: int) -> Tensor:
    """Pixels `(B, K, side²)` of the squares around points `(B, K, 2)` of images `(B, 1, H, W)`.

    The point is the middle pixel, and the first after the middle where the side is even.
    """
    reach = torch.arange(side, device=image.device, dtype=points.dtype) - side // 2
    square = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), dim=-1).view(1, 1, -1, 2)
    return read(image, points[:, :, None] + square, padding="border")[:, 0]


def interval(image: Tensor, points: Tensor, operator: str, mean: float, deviation: float, search: Search) -> Interval:
    r"""Return the smallest and the largest factor whose information about the unchanged patches is nearest to the mean.

    Factors move away from 1 step by step until $\frac1K\sum_k I(l_k; A(l_k)) < \mu - \sigma_\mu$ or a limit is reached;
    of those visited the one with the smallest $|I - \mu|$ counts.

    Args:
        image: `(1, 1, H, W)`.
        points: `(1, K, 2)`.
        operator: Name of the operator.
        mean: μ, mean information between matches of different images, in bits.
        deviation: σ of it.
        search: Which information, and the limits.
    """
    before = around(image, points, search.side)[0]  # (K, P)
    ends = []
    for limit in search.limits:
        count = int(abs(limit - 1) / STEPS[operator] + 1e-6) + 1
        factors = 1 + torch.arange(count, device=image.device) * (STEPS[operator] if limit > 1 else -STEPS[operator])
        changed = OPERATORS[operator](image.expand(count, -1, -1, -1), factors[:, None, None, None])
        after = around(changed, points.expand(count, -1, -1), search.side)  # (count, K, P)
        pairs = before.expand_as(after).flatten(0, 1), after.flatten(0, 1)
        information = mutual_information(*pairs, search.indicator).view(count, -1).mean(dim=1)
        below = (information < mean - deviation).nonzero()
        seen = information[: int(below[0]) + 1] if len(below) else information
        ends.append(float(factors[int((seen - mean).abs().argmin())]))
    return ends[0], ends[1]


@torch.no_grad()
def estimate(
    images: Tensor, find: Find, search: Search, entropy: Tensor | None = None
) -> tuple[Intervals, dict[str, float]]:
    """Estimate brightness and contrast of each class from images of one anatomy; the low class takes the medium's.

    Args:
        images: `(N, 1, H, W)` in [0, 1], N ≥ 2.
        find: Finds points of one image in others, such as a trained matcher.
        search: Settings.
        entropy: `(N, H, W)` in bits, by which pixels fall into classes; None: that of `images`.

    Returns:
        The intervals, averaged over images, and the mean information between matches by class. A class without salient
        points takes the intervals of the other one.

    Raises:
        ValueError: There is no salient point in any image.
    """
    found: Intervals = {}
    means: dict[str, float] = {}
    kinds = classify(entropy_map(images, search.radius) if entropy is None else entropy, search.borders)
    for kind in ("medium", "high"):
        references: list[tuple[Tensor, Tensor]] = []
        between: list[Tensor] = []
        for i, image in enumerate(images):
            points = salient_points(image[0], kinds[i] == CLASSES.index(kind), search.points)[None]
            if not points.shape[1]:
                continue
            others = images[torch.arange(len(images), device=images.device) != i]
            matched = around(others, find(image[None], points, others), search.side)  # (N - 1, K, P)
            patches = around(image[None], points, search.side).expand_as(matched)
            between.append(mutual_information(patches.flatten(0, 1), matched.flatten(0, 1), search.indicator))
            references.append((image[None], points))
        if references:
            information = torch.cat(between)
            mean, deviation = float(information.mean()), float(information.std())
            means[kind] = mean
            found[kind] = {
                name: _average([interval(i, p, name, mean, deviation, search) for i, p in references])
                for name in OPERATORS
            }
    if not found:
        raise ValueError("images: expected some with salient points of medium or high entropy, got none")
    medium = found.get("medium", found.get("high", {}))
    return {"low": medium, "medium": medium, "high": found.get("high", medium)}, means


def _average(intervals: Sequence[Interval]) -> Interval:
    """Mean of both ends."""
    return float(np.mean([low for low, _ in intervals])), float(np.mean([high for _, high in intervals]))
