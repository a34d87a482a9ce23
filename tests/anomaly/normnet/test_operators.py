"""What the filter of the lesion generator is good for: tubes are learnt as normal, blobs of another make are found.

Noise or shape left out make no difference that a fit of seconds could show; see `benchmarks/anomaly_ablation.py`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medzoo.anomaly.normnet.losses import normalcy_loss
from medzoo.anomaly.normnet.module import NormNet
from medzoo.anomaly.normnet.segment import grow, seeds
from medzoo.core.metrics.segmentation import dice

SIZE, SPACING = (24, 28, 28), [3.0, 3.0, 3.0]
GRID = np.indices(SIZE).astype(float)
STEPS, RATE = 100, 4e-3


def from_point(point: NDArray[np.float64]) -> NDArray[np.float64]:
    return GRID - point[:, None, None, None]


def lung(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return an ellipsoid of dark noise with bright tubes, and where it is."""
    image = 0.08 + 0.03 * smooth(rng, 0.7)
    for _ in range(14):
        offset, heading = from_point(rng.uniform(0, SIZE)), rng.normal(size=3)
        along = np.tensordot(heading / np.linalg.norm(heading), offset, 1)
        distance = np.sqrt(np.maximum((offset**2).sum(0) - along**2, 0))
        image = np.maximum(image, 0.9 * np.clip(rng.uniform(0.5, 1.6) - distance + 0.5, 0, 1))
    half = np.array(SIZE) / 2
    organ = ((from_point(half - 0.5) / half[:, None, None, None]) ** 2).sum(0) < 1
    return torch.from_numpy(image.clip(0, 1) * organ).float(), torch.from_numpy(organ)


def ill(rng: np.random.Generator, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return a lung with two irregular blobs of a brightness, where it is, and where they are."""
    image, organ = lung(rng)
    inside = np.argwhere(organ.numpy()).astype(float)
    balls = [rng.uniform(3, 6) - np.sqrt((from_point(rng.choice(inside)) ** 2).sum(0)) for _ in range(2)]
    core = np.clip(np.maximum(*balls) + 1.5 * smooth(rng, 2) + 0.5, 0, 1) * organ.numpy()
    matter = np.maximum(level + 0.05 * smooth(rng, 2), image.numpy())
    found = torch.from_numpy(image.numpy() * (1 - core) + core * matter).clamp(0, 1).float()
    return found, organ, torch.from_numpy(core > 0.5)


def smooth(rng: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    field = ndimage.gaussian_filter(rng.standard_normal(SIZE), sigma, mode="wrap")
    return np.asarray(field / field.std())


def learnt(smoothed: bool) -> float:
    """Train one small network on healthy lungs and return its mean Dice on blobs."""
    torch.manual_seed(0)
    net = NormNet(widths=[4, 8], patch=[8, 8, 8], members=1, threshold_hu=-530, noise=0.02, thick=0.0)
    generator = replace(net.insert_lesions.generator, smoothed=smoothed)
    net.insert_lesions = replace(net.insert_lesions, generator=generator)
    optimizer, generator = torch.optim.Adam(net.parameters(), RATE), torch.Generator().manual_seed(0)
    healthy = [lung(np.random.default_rng((seed, 0))) for seed in range(12)]
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        made = [net.insert_lesions(*healthy[(3 * step + i) % 12], SPACING, generator) for i in range(3)]
        image, target, bright = (torch.stack(part)[:, None] for part in zip(*made, strict=True))
        optimizer.zero_grad()
        normalcy_loss(net.networks[0](image), target, bright).backward()
        optimizer.step()
    found = []
    with torch.no_grad():
        for index in range(8):
            x, organ, truth = ill(np.random.default_rng((index, 1)), (0.45, 0.8)[index % 2])
            normal = net.eval()(x[None, None])[0, 0]
            start = seeds(normal, x, organ, net.level, 0.5)
            found.append(dice(grow(start, normal, x, organ, net.growth, SPACING), truth))
    return float(np.mean(found))


@pytest.mark.slow
def test_without_the_filter_lesions_are_salt_and_blobs_are_missed() -> None:
    whole, salty = learnt(smoothed=True), learnt(smoothed=False)
    assert whole > 0.3
    assert salty < 0.5 * whole
