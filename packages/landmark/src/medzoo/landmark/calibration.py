"""How sure a method is of a point: the error to expect of it, learnt on varied copies of the annotated images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medzoo.core.geometry.points import to_network
from medzoo.core.sample import LandmarkSample
from medzoo.landmark.shots import Domains
from medzoo.landmark.views import View, seen_of

if TYPE_CHECKING:
    from medzoo.landmark.method import LandmarkMethod

COPIES = 128
"""Varied copies of a domain's annotated images that are looked at."""
_ERROR, _DOUBT = 1e-2, 1e-4  # least error in pixels, and least distance of a score from 1


def doubt(scores: Tensor) -> Tensor:
    """Return the logarithm of how far scores in [0, 1] are from 1."""
    return (1 - scores.double()).clamp(min=0).add(_DOUBT).log()


def fitted(errors: Tensor, scores: Tensor) -> Tensor:
    """Fit `log error = level of the landmark + slope · log(1 − score)` by least squares, one slope for all landmarks.

    Args:
        errors: `(N, K)` distances in pixels; NaN where unknown.
        scores: `(N, K)` in [0, 1].

    Returns:
        `(K + 1,)`, the levels and then the slope, at least 0; a landmark that was never seen has the mean level.
    """
    x, y = doubt(scores), errors.double().clamp(min=_ERROR).log()
    known = y.isfinite() & x.isfinite()
    x, y = x.where(known, torch.nan), y.where(known, torch.nan)
    mean_x, mean_y = x.nanmean(dim=0), y.nanmean(dim=0)
    from_x, from_y = (x - mean_x).nan_to_num(), (y - mean_y).nan_to_num()
    slope = ((from_x * from_y).sum() / from_x.square().sum().clamp(min=1e-9)).clamp(min=0)
    levels = mean_y - slope * mean_x
    levels = levels.where(levels.isfinite(), levels.nanmean().nan_to_num())
    return torch.cat([levels, slope[None]]).float()


def sureness(scores: Tensor, calibration: Tensor) -> Tensor:
    """Return scores `1 / (1 + e)` with the error `e` to expect, in pixels of the network's image.

    Args:
        scores: `(B, K)` as the method gives them.
        calibration: `(K + 1,)` of `fitted`.
    """
    levels, slope = calibration.to(scores.device).double().split([scores.shape[1], 1])
    expected: Tensor = (levels + slope * doubt(scores)).exp()
    return (1 / (1 + expected)).to(scores.dtype)


@torch.no_grad()
def calibrations(method: LandmarkMethod, images: Iterable[LandmarkSample]) -> dict[str, Tensor]:
    """Return the calibration of each domain: `COPIES` varied copies of its annotated images, with their own landmarks.

    These are images that the method was trained on, so that errors come out too small: they rank points and no more.
    What is drawn hangs on the place of an image alone, so that all processes come to the same.

    Args:
        method: A trained method.
        images: Annotated images.
    """
    given: dict[str, list[LandmarkSample]] = {}
    for sample in images:
        given.setdefault(sample["source"], []).append(sample)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
    mode, view = method.training, View(1.0)
    method.eval()
    with torch.random.fork_rng():  # training goes on as it would without this
        for name, own in given.items():
            copies = max(1, COPIES // len(own))
            for place, sample in enumerate(own):
                torch.manual_seed(place)
                points = to_network(sample["landmarks"][None], sample["affine"][None])
                copied = view(sample["image"].expand(copies, -1, -1, -1), points.expand(copies, -1, -1))
                for image, moved in zip(
                    *(t.split(method.wants().batch_size or 1) for t in seen_of(*copied)), strict=True
                ):
                    found = method(image.to(method.device, method.dtype), method.index_of(name))
                    error = (found.points.float().cpu() - moved).norm(dim=-1)
                    seen.setdefault(name, []).append((error, found.scores.float().cpu()))
    method.train(mode)
    return {name: fitted(*(torch.cat(each) for each in zip(*pairs, strict=True))) for name, pairs in seen.items()}


def is_calibration(value: object, domains: Domains) -> bool:
    """Return whether a value is calibrations of some of these domains, a level a landmark and the slope."""
    return isinstance(value, dict) and all(
        name in domains and isinstance(each, Tensor) and each.shape == (len(domains[name]) + 1,)
        for name, each in value.items()
    )
