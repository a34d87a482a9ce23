"""Certificates of a classifier under Gaussian noise (Cohen, Rosenfeld, Kolter, ICML 2019)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import beta, norm
from torch import Tensor

from medzoo.core.errors import ConfigError

ABSTAINS = -1


@dataclass(frozen=True)
class Smoothing:
    """How a classifier is smoothed, and how sure its certificates are.

    Args:
        sigma: Standard deviation of the noise, in image units.
        first: Noisy copies that choose the class.
        draws: Other noisy copies that count it.
        alpha: Probability that a certificate is wrong, for each image.
        batch: Copies that the classifier sees at once.

    Raises:
        ConfigError: A setting is impossible.
    """

    sigma: float
    first: int = 100
    draws: int = 1000
    alpha: float = 0.001
    batch: int = 250

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ConfigError(f"--sigma: expected above 0, in the unit of the images, got {self.sigma:g}")
        if min(self.first, self.draws, self.batch) < 1:
            raise ConfigError(f"--first, --draws: expected at least 1, got {self.first} and {self.draws}")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"--alpha: expected a probability between 0 and 1, got {self.alpha:g}")


@dataclass(frozen=True)
class Certificate:
    """What is certain of one image.

    Attributes:
        called: Class of the smoothed classifier, or `ABSTAINS`.
        radius: Euclidean length in image units; no change that is shorter moves the class. 0 where it abstains.
        bound: Lower confidence bound of the class's probability under the noise.
    """

    called: int
    radius: float
    bound: float


def lower_bound(hits: int, draws: int, alpha: float) -> float:
    """Return the one-sided lower bound of Clopper and Pearson of a probability.

    Args:
        hits: Times that something happened.
        draws: Of so many.
        alpha: Probability that the true value lies below.
    """
    return float(beta.ppf(alpha, hits, draws - hits + 1)) if hits else 0.0


def certify(
    answer: Callable[[Tensor], Tensor], image: Tensor, smoothing: Smoothing, generator: torch.Generator
) -> Certificate:
    """Certify one image (algorithm CERTIFY of the paper): a radius of σ·Φ⁻¹(p), or an abstention where p ≤ 1/2.

    Args:
        answer: From images `(n, C, *S)` to logits `(n, K)`; noisy ones leave the bounds of the images, as in the paper.
        image: `(C, *S)`.
        smoothing: Settings.
        generator: Of the noise.
    """
    chosen = int(_counts(answer, image, smoothing, smoothing.first, generator).argmax())
    hits = int(_counts(answer, image, smoothing, smoothing.draws, generator)[chosen])
    bound = lower_bound(hits, smoothing.draws, smoothing.alpha)
    if bound <= 0.5:
        return Certificate(ABSTAINS, 0.0, bound)
    return Certificate(chosen, smoothing.sigma * float(norm.ppf(bound)), bound)


@torch.no_grad()
def _counts(
    answer: Callable[[Tensor], Tensor], image: Tensor, smoothing: Smoothing, draws: int, generator: torch.Generator
) -> Tensor:
    counts = torch.zeros(0)
    for start in range(0, draws, smoothing.batch):
        shape = (min(smoothing.batch, draws - start), *image.shape)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(image)
        logits = answer(image + smoothing.sigma * noise)
        found = torch.bincount(logits.argmax(dim=1).cpu(), minlength=logits.shape[1])
        counts = found if not len(counts) else counts + found
    return counts
