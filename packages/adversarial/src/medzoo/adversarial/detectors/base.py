"""One interface of all detectors: `fit` on clean, noisy and attacked images, `score` of any, larger if suspicious."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from medzoo.adversarial.detectors.seen import Seen, joined


class Detector(ABC):
    """Says how suspicious images are.

    `state` holds all that a fit has learned, as tensors, so that it can be kept in a checkpoint.
    """

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    @abstractmethod
    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Learn.

        Args:
            train: Clean images that the classifier was trained on, with labels.
            normal: Other clean images and the same with uniform noise, for detectors that learn from both kinds.
            attacked: The same images, attacked; those that only describe normal images leave them alone.
        """

    @abstractmethod
    def score(self, seen: Seen) -> Tensor:
        """Return `(N,)`, larger where an image is more suspicious; differentiable unless the class says otherwise."""


class Combined(Detector):
    """A logistic regression over several scores of an image, normal against attacked, as KD+BU, LID and Mahalanobis."""

    @abstractmethod
    def learn(self, train: Seen) -> None:
        """Learn what the scores need from clean training images."""

    @abstractmethod
    def each(self, seen: Seen) -> Tensor:
        """Return `(N, S)` scores, such as one a layer."""

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Learn the scores, then how they are weighted."""
        self.learn(train)
        with torch.no_grad():
            scores = [self.each(seen).double() for seen in (normal, attacked)]
        self.state |= logistic(*scores)

    def score(self, seen: Seen) -> Tensor:
        """Return the logit of being attacked."""
        each = (self.each(seen) - self.state["mean"]) / self.state["spread"]
        return each @ self.state["weights"] + self.state["bias"]


def logistic(normal: Tensor, attacked: Tensor) -> dict[str, Tensor]:
    """Return mean, spread, weights and bias of a logistic regression on standardised scores.

    Args:
        normal: `(N, S)`.
        attacked: `(M, S)`.
    """
    from sklearn.linear_model import LogisticRegression

    both = torch.cat([normal, attacked]).cpu()
    mean, spread = both.mean(dim=0), both.std(dim=0, correction=0).clamp_min(1e-12)
    label = torch.cat([torch.zeros(len(normal)), torch.ones(len(attacked))])
    model = LogisticRegression(max_iter=1000, class_weight="balanced")
    model.fit(((both - mean) / spread).numpy(), label.numpy())
    found = {
        "mean": mean.float(),
        "spread": spread.float(),
        "weights": torch.from_numpy(model.coef_[0]).float(),
        "bias": torch.tensor(float(model.intercept_[0])),
    }
    return {name: value.to(normal.device) for name, value in found.items()}


class TwoSided(Detector):
    """How far another detector's score is from its median on normal images, on either side.

    Features that are hidden too well lie nearer to the centre of a class than real ones.

    Args:
        inner: A detector; it is fitted here.
    """

    def __init__(self, inner: Detector) -> None:
        super().__init__()
        self.inner = inner

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Fit the inner one and take the median."""
        self.inner.fit(train, normal, attacked)
        with torch.no_grad():
            self.state = {**self.inner.state, "median": self.inner.score(normal).median()}

    def score(self, seen: Seen) -> Tensor:
        """Return the distance from the median."""
        self.inner.state = self.state
        return (self.inner.score(seen) - self.state["median"]).abs()


__all__ = ["Combined", "Detector", "TwoSided", "joined", "logistic"]
