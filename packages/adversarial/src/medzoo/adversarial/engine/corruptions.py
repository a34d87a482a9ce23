"""Corruptions that happen without an attacker, in five severities, in the manner of MedMNIST-C (Di Salvo 2024).

Kinds are those of radiographs there; the amounts are chosen here, so that figures are not those of that benchmark.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.adversarial.engine.attack import Attack, Best
from medzoo.adversarial.engine.draws import Source, normal, parts, uniform
from medzoo.adversarial.engine.problem import Problem
from medzoo.core.errors import ConfigError, check_choice

SEVERITIES = (1, 2, 3, 4, 5)
Change = Callable[[Tensor, float, Source], Tensor]
"""From images `(n, C, *S)` in [0, 1], an amount and what draws to changed images, which may leave [0, 1]."""


def _noise(x: Tensor, spread: float, source: Source) -> Tensor:
    return x + spread * normal(x, source)


def _speckle(x: Tensor, spread: float, source: Source) -> Tensor:
    return x * (1 + spread * normal(x, source))


def _shot(x: Tensor, photons: float, source: Source) -> Tensor:
    drawn = [torch.poisson((part * photons).to(own.device), generator=own) for part, own in parts(x, source)]
    return torch.cat(drawn).to(x) / photons


def _impulse(x: Tensor, share: float, source: Source) -> Tensor:
    drawn = uniform(x, source)
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn < share, 1.0, x))


def _blur(x: Tensor, share: float, source: Source) -> Tensor:
    """Gaussian, its standard deviation a share of the longest side and 0.3 pixels; borders are continued."""
    del source
    sigma = 0.3 + share * max(x.shape[2:])
    radius = max(1, math.ceil(3 * sigma))
    place = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).reshape(1, 1, -1)
    for axis in range(2, x.ndim):
        moved = x.movedim(axis, -1)
        lines = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (radius, radius), mode="replicate")
        x = F.conv1d(lines, kernel).reshape(moved.shape).movedim(-1, axis)
    return x


def _pixelate(x: Tensor, share: float, source: Source) -> Tensor:
    del source
    small = [max(1, round(n * share)) for n in x.shape[2:]]
    return F.interpolate(F.interpolate(x, small, mode="area"), x.shape[2:], mode="nearest")


def _jpeg(x: Tensor, quality: float, source: Source) -> Tensor:
    del source
    from PIL import Image

    out = []
    for image in (x.clamp(0, 1) * 255).round().byte().cpu():
        file = io.BytesIO()
        pixels = image[0].numpy() if len(image) == 1 else image.movedim(0, -1).numpy()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        back = torch.from_numpy(np.array(Image.open(file)))
        out.append(back[None] if len(image) == 1 else back.movedim(-1, 0))
    return torch.stack(out).to(x) / 255


def _shift(x: Tensor, amount: float, source: Source) -> Tensor:
    del source
    return x + amount


def _contrast(x: Tensor, factor: float, source: Source) -> Tensor:
    del source
    mean = x.flatten(1).mean(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    return mean + factor * (x - mean)


def _gamma(x: Tensor, power: float, source: Source) -> Tensor:
    del source
    return x.clamp_min(0) ** power


CORRUPTIONS: dict[str, tuple[Change, tuple[float, float, float, float, float]]] = {
    "gaussian-noise": (_noise, (0.02, 0.04, 0.06, 0.09, 0.13)),
    "speckle-noise": (_speckle, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "shot-noise": (_shot, (500, 200, 100, 50, 25)),
    "impulse-noise": (_impulse, (0.005, 0.01, 0.02, 0.04, 0.08)),
    "blur": (_blur, (0.003, 0.006, 0.01, 0.015, 0.025)),
    "pixelate": (_pixelate, (0.8, 0.6, 0.45, 0.3, 0.2)),
    "jpeg": (_jpeg, (50, 30, 20, 12, 8)),
    "brighter": (_shift, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "darker": (_shift, (-0.05, -0.1, -0.15, -0.2, -0.3)),
    "more-contrast": (_contrast, (1.2, 1.4, 1.7, 2.0, 2.5)),
    "less-contrast": (_contrast, (0.8, 0.65, 0.5, 0.4, 0.3)),
    "gamma-up": (_gamma, (1.2, 1.5, 1.8, 2.2, 2.8)),
    "gamma-down": (_gamma, (1 / 1.2, 1 / 1.5, 1 / 1.8, 1 / 2.2, 1 / 2.8)),
}
"""By name: what is done, and the amounts of the severities 1 to 5 for images whose bounds are scaled to [0, 1]."""


def fits(name: str, image: Tensor) -> bool:
    """Return whether a corruption is one of images such as this, `(C, *S)`: a JPEG has two axes and 1 or 3 channels."""
    return name != "jpeg" or (image.ndim == 3 and len(image) in (1, 3))


@dataclass(frozen=True, kw_only=True)
class Corruption(Attack):
    """A corruption of each image, drawn once; it looks for nothing and asks for no gradient.

    Args:
        kind: One of `CORRUPTIONS`.
        severity: 1 to 5.
    """

    kind: str
    severity: int

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse kinds and severities that do not exist."""
        super().check(bounds)
        check_choice("corruption", self.kind, list(CORRUPTIONS))
        if self.severity not in SEVERITIES:
            raise ConfigError(f"severity: expected 1 to 5, got {self.severity}")

    def run(self, problem: Problem) -> Best:
        """Change the images and judge.

        Raises:
            ConfigError: The corruption is none of such images.
        """
        if len(problem.images) and not fits(self.kind, problem.images[0]):
            raise ConfigError(f"{self.kind}: it is of images with two axes and 1 or 3 channels")
        best = Best(problem)
        low, high = problem.victim.bounds
        change, amounts = CORRUPTIONS[self.kind]
        changed = change((problem.images - low) / (high - low), amounts[self.severity - 1], problem.generator)
        x = low + changed.clamp(0, 1) * (high - low)
        best.offer(x, problem.judge(problem.clip(x)), newest=True)
        return best
