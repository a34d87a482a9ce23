"""A Gaussian for each position of a feature map, and the distance of new features from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medzoo.core.errors import TrainingError


@dataclass
class PositionGaussians:
    """Means and covariances of `P` positions, the covariances as the samples that they came from.

    With n samples of C channels the covariance is `XᵀX/(n−1) + εI`. As n is far below C, the distance follows exactly
    from an n × n system for each position (Woodbury), which is C²/n² smaller than the covariance.

    Attributes:
        mean: `(P, C)`.
        samples: `(P, n, C)`, samples less the mean.
        inverse: `(P, n, n)` float64, of the lower Cholesky factor of `ε(n−1)I + XXᵀ`; a product is a step that an
            exported graph may have too.
        ridge: ε.
    """

    mean: Tensor
    samples: Tensor
    inverse: Tensor
    ridge: float

    @classmethod
    def fit(cls, features: Tensor, ridge: float = 0.01) -> PositionGaussians:
        """Estimate from `(n, C, h, w)` with n ≥ 2 (unbiased covariance).

        Raises:
            ValueError: There are fewer than two samples.
            TrainingError: Features are not finite, which an exploded network makes.
        """
        n = features.shape[0]
        if n < 2:
            raise ValueError(f"features must hold at least two samples, got {n}")
        if not torch.isfinite(features).all():
            raise TrainingError("the features are not finite: the training has diverged; lower --model.lr")
        flat = features.flatten(2).permute(2, 0, 1).contiguous()  # (n, C, h, w) -> (P, n, C)
        mean = flat.mean(1)
        samples = flat - mean[:, None]
        kind = torch.float32 if features.device.type == "mps" else torch.float64
        gram = samples.to(kind) @ samples.to(kind).mT
        gram.diagonal(dim1=1, dim2=2).add_(ridge * (n - 1))
        unit = torch.eye(n, dtype=kind, device=gram.device)
        inverse = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), unit, upper=False)
        return cls(mean, samples, inverse, ridge)

    def distance(self, features: Tensor) -> Tensor:
        """Return the Mahalanobis distance of `(B, C, h, w)` at each position, `(B, h, w)`."""
        batch, _, height, width = features.shape
        offset = features.flatten(2).permute(2, 0, 1) - self.mean[:, None]  # (P, B, C)
        kind = self.inverse.dtype
        offset = offset.to(kind)
        along = self.samples.to(kind) @ offset.mT  # (P, n, B)
        solved = self.inverse @ along
        squared = (offset.square().sum(-1) - solved.square().sum(1)) / self.ridge  # (P, B)
        distance: Tensor = squared.clamp_min(0).sqrt().to(features.dtype)
        return distance.T.reshape(batch, height, width)
