"""Detectors of attacked images on the features of a classifier: one interface, larger scores are more suspicious."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medzoo.adversarial.detectors.base import Combined, Detector, TwoSided
from medzoo.adversarial.detectors.learned import LayerNetworks, SupportVectors
from medzoo.adversarial.detectors.magnet import MagNet
from medzoo.adversarial.detectors.mixtures import Likelihood, Mixtures
from medzoo.adversarial.detectors.seen import Seen, Watched
from medzoo.adversarial.detectors.statistics import (
    DensityAndDropout,
    DropoutVariance,
    KernelDensity,
    LocalDimension,
    Mahalanobis,
    Neighbours,
)

_MAKE: dict[str, Callable[[Watched, int], Detector]] = {
    "kd": lambda watched, seed: KernelDensity(),
    "bu": lambda watched, seed: DropoutVariance(watched.head, seed),
    "kd+bu": lambda watched, seed: DensityAndDropout(watched.head),
    "lid": lambda watched, seed: LocalDimension(seed),
    "maha": lambda watched, seed: Mahalanobis(),
    "maha-last": lambda watched, seed: Mahalanobis(last=True),
    "maha-two-sided": lambda watched, seed: TwoSided(Mahalanobis()),
    "svm": lambda watched, seed: SupportVectors(),
    "dnn": lambda watched, seed: LayerNetworks(watched, seed=seed),
    "dknn": lambda watched, seed: Neighbours(),
    "gmm": lambda watched, seed: Likelihood(Mixtures(range(len(watched.layers) + 1))),
    "gmm-two-sided": lambda watched, seed: TwoSided(Likelihood(Mixtures(range(len(watched.layers) + 1)))),
    "magnet-error": lambda watched, seed: MagNet(watched, "error", seed),
    "magnet-answer": lambda watched, seed: MagNet(watched, "answer", seed),
}
DETECTORS = tuple(_MAKE)
"""Names of the detectors."""


def suite(watched: Watched, names: Sequence[str] = DETECTORS, seed: int = 0) -> dict[str, Detector]:
    """Return detectors of a classifier by name, not fitted.

    Args:
        watched: The classifier and its layers.
        names: Which.
        seed: Of what is random in them.
    """
    return {name: _MAKE[name](watched, seed) for name in names}


__all__ = [
    "DETECTORS",
    "Combined",
    "DensityAndDropout",
    "Detector",
    "DropoutVariance",
    "KernelDensity",
    "LayerNetworks",
    "Likelihood",
    "LocalDimension",
    "MagNet",
    "Mahalanobis",
    "Mixtures",
    "Neighbours",
    "Seen",
    "SupportVectors",
    "TwoSided",
    "Watched",
    "suite",
]
