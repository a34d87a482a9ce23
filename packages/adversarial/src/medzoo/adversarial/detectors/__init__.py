"""Detectors of attacked images on the features of a classifier: one interface, larger scores are more suspicious."""

from __future__ import annotations

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


def suite(watched: Watched, seed: int = 0) -> dict[str, Detector]:
    """Return all detectors of a classifier by name, not fitted.

    Args:
        watched: The classifier and its layers.
        seed: Of what is random in them.
    """
    every = range(len(watched.layers) + 1)
    return {
        "kd": KernelDensity(),
        "bu": DropoutVariance(watched.head, seed),
        "kd+bu": DensityAndDropout(watched.head),
        "lid": LocalDimension(seed),
        "maha": Mahalanobis(),
        "maha-last": Mahalanobis(last=True),
        "maha-two-sided": TwoSided(Mahalanobis()),
        "svm": SupportVectors(),
        "dnn": LayerNetworks(watched, seed=seed),
        "dknn": Neighbours(),
        "gmm": Likelihood(Mixtures(every)),
        "gmm-two-sided": TwoSided(Likelihood(Mixtures(every))),
        "magnet-error": MagNet(watched, "error", seed),
        "magnet-answer": MagNet(watched, "answer", seed),
    }


__all__ = [
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
