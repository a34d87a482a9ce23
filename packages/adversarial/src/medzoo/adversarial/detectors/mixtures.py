"""Mixtures of Gaussians over the pooled features of each layer and class: where the features of real images lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medzoo.adversarial.detectors.base import Detector
from medzoo.adversarial.detectors.seen import Seen
from medzoo.core.errors import ConfigError

Covariance = Literal["full", "shrunk"]
"""As estimated, with 1e-6 on the diagonal; or shrunk towards a multiple of the identity (Ledoit and Wolf 2004)."""


class Mixtures:
    """Of each layer and class, K Gaussians with full covariances.

    Args:
        layers: Places of the layers in `Seen.pooled`.
        components: K; more than one are found by expectation-maximisation.
        covariance: How covariances are estimated; `shrunk` for one component, where images are few.
        seed: Of the maximisation's start.

    Raises:
        ConfigError: Shrunk covariances of several components.
    """

    def __init__(
        self, layers: Sequence[int], components: int = 1, covariance: Covariance = "shrunk", seed: int = 0
    ) -> None:
        if components < 1:
            raise ConfigError(f"components: expected at least 1, got {components}")
        if components > 1 and covariance == "shrunk":
            raise ConfigError("covariance: shrunk covariances are of one component; take full, or components 1")
        self.layers, self.components, self.covariance, self.seed = tuple(layers), components, covariance, seed
        self.state: dict[str, Tensor] = {}
        """`<layer>.weights` `(K, M)` logarithms, `.means` `(K, M, C)`, `.whiten` `(K, M, C, C)` U with Σ⁻¹ = U Uᵀ."""

    def fit(self, seen: Seen) -> None:
        """Estimate from all images with a label of each class, whatever the classifier says of them.

        Raises:
            ConfigError: A class has fewer than two images, or than components.
        """
        classes = seen.logits.shape[1]
        counts = torch.bincount(seen.labels, minlength=classes)
        if int(counts.min()) < max(2, self.components):
            need = max(2, self.components)
            raise ConfigError(
                f"--data: class {int(counts.argmin())} has {int(counts.min())} training images, mixtures need {need}"
            )
        for layer in self.layers:
            found = [
                self._estimate(seen.pooled[layer][seen.labels == k].double().cpu().numpy()) for k in range(classes)
            ]
            for name, values in zip(("weights", "means", "whiten"), zip(*found, strict=True), strict=True):
                self.state[f"{layer}.{name}"] = torch.from_numpy(np.stack(values)).float()

    def _estimate(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.covariance == "shrunk":
            from sklearn.covariance import ledoit_wolf

            covariance, _ = ledoit_wolf(features)
            covariance = covariance + 1e-6 * np.eye(len(covariance))
            whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
            return np.zeros(1), features.mean(axis=0)[None], whiten[None]
        from sklearn.mixture import GaussianMixture

        model = GaussianMixture(self.components, n_init=2, max_iter=1000, random_state=self.seed, reg_covar=1e-6)
        model.fit(features)
        return np.log(model.weights_), model.means_, model.precisions_cholesky_

    def distances(self, seen: Seen, classes: Tensor) -> Tensor:
        """Return squared Mahalanobis distances over C_l to the likeliest component of a class, `(N, L)`.

        The choice of the component has no gradient. About 1 for the images that the mixtures were estimated from.

        Args:
            seen: Features `(N, C_l)`.
            classes: `(N,)` int64.
        """
        return torch.stack([self._of(layer, seen, classes)[0] for layer in self.layers], dim=1)

    def log_densities(self, seen: Seen, classes: Tensor) -> Tensor:
        """Return the logarithm of the density of a class in each layer, `(N, L)`."""
        return torch.stack([self._of(layer, seen, classes)[1] for layer in self.layers], dim=1)

    def components_of(self, layer: int, seen: Seen, classes: Tensor) -> Tensor:
        """Return which component is likeliest, `(N,)`."""
        return self._of(layer, seen, classes)[2]

    def _of(self, layer: int, seen: Seen, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights, means, whiten = (
            self.state[f"{layer}.{name}"].to(seen.logits) for name in ("weights", "means", "whiten")
        )
        features = seen.pooled[layer]
        squares = features.new_zeros(len(features), weights.shape[1])
        logs = torch.zeros_like(squares)
        for k in classes.unique().tolist():
            rows = torch.nonzero(classes == k)[:, 0]
            white = torch.einsum("nmc,mcd->nmd", features[rows, None] - means[k], whiten[k])
            square = white.square().sum(dim=2)
            determinant = whiten[k].diagonal(dim1=1, dim2=2).log().sum(dim=1)
            log = weights[k] + determinant - square / 2 - features.shape[1] / 2 * math.log(2 * math.pi)
            squares, logs = squares.index_copy(0, rows, square), logs.index_copy(0, rows, log)
        best = logs.detach().argmax(dim=1)
        return squares.gather(1, best[:, None])[:, 0] / features.shape[1], logs.logsumexp(dim=1), best


class Likelihood(Detector):
    """−log p of the features of all layers under the mixtures of the predicted class, a mean over layers by C_l.

    What a defender would look at who expects features to be hidden among those of the class.

    Args:
        mixtures: Already fitted, or fitted here; the state is theirs.
    """

    def __init__(self, mixtures: Mixtures) -> None:
        super().__init__()
        self.mixtures = mixtures

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Estimate the mixtures from the training images."""
        self.mixtures.fit(train)
        self.state = self.mixtures.state

    def score(self, seen: Seen) -> Tensor:
        """Return the mean of −log p by the number of features."""
        self.mixtures.state = self.state
        sizes = torch.tensor([seen.pooled[layer].shape[1] for layer in self.mixtures.layers], device=seen.logits.device)
        return -(self.mixtures.log_densities(seen, seen.predicted) / sizes).mean(dim=1)
