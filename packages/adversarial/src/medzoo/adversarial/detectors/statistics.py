"""Detectors that describe features of normal images: density, dropout, local dimension, Mahalanobis, neighbours."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from medzoo.adversarial.detectors.base import Combined, Detector
from medzoo.adversarial.detectors.seen import Seen

_PASSES, _DROP = 50, 0.3
_LID_BATCH, _LID_NEAREST, _NEIGHBOURS = 100, 20, 5


class KernelDensity(Detector):
    """KD (Feinman 2017): −log of a Gaussian kernel density of the head's input under that of the predicted class.

    The bandwidth is Silverman's, from the training features: scikit-learn's 1.0, which public code uses, has no meaning
    for features of another scale.
    """

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Keep the training features of each class."""
        points = train.pooled[-1]
        count, width = points.shape
        spread = points.double().var(dim=0).mean().sqrt()
        bandwidth = spread * (4 / ((width + 2) * count)) ** (1 / (width + 4))
        self.state = {"points": points, "labels": train.labels, "bandwidth": bandwidth.float()}

    def score(self, seen: Seen) -> Tensor:
        """Return −log p(features | predicted class)."""
        points, labels, width = self.state["points"], self.state["labels"], self.state["bandwidth"]
        kernel = -torch.cdist(seen.pooled[-1], points).square() / (2 * width**2)
        other = labels[None] != seen.predicted[:, None]
        count = (~other).sum(dim=1).clamp_min(1)
        constant = points.shape[1] * (0.5 * math.log(2 * math.pi) + width.log())
        return -(kernel.masked_fill(other, -torch.inf).logsumexp(dim=1) - count.log() - constant)


class DropoutVariance(Detector):
    """BU (Feinman 2017): mean variance of the softmax over 50 random dropouts of the head's input.

    The same 50 masks for all images, so that a score does not depend on what else is asked. A classifier that was
    trained without dropout there gives it less to go by.

    Args:
        head: The classifier's last linear layer.
        seed: Of the masks.
    """

    def __init__(self, head: nn.Linear, seed: int = 0) -> None:
        super().__init__()
        self.head, self.seed = head, seed

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Draw the masks."""
        generator = torch.Generator().manual_seed(self.seed)
        kept = torch.rand(_PASSES, train.pooled[-1].shape[1], generator=generator) >= _DROP
        self.state = {"masks": kept.float() / (1 - _DROP)}

    def score(self, seen: Seen) -> Tensor:
        """Return the mean over classes of the variance over passes."""
        passes = self.head(seen.pooled[-1][:, None] * self.state["masks"].to(seen.logits)).softmax(dim=2)
        found: Tensor = passes.var(dim=1, correction=0).mean(dim=1)
        return found


class DensityAndDropout(Combined):
    """KD+BU (Feinman 2017): a logistic regression over both.

    Args:
        head: The classifier's last linear layer.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.parts: tuple[Detector, ...] = (KernelDensity(), DropoutVariance(head))

    def learn(self, train: Seen) -> None:
        """Fit both."""
        for part in self.parts:
            part.fit(train, train, train)
            self.state |= part.state

    def each(self, seen: Seen) -> Tensor:
        """Return both scores, `(N, 2)`."""
        for part in self.parts:
            part.state = self.state
        return torch.stack([part.score(seen) for part in self.parts], dim=1)


class LocalDimension(Combined):
    """LID (Ma 2018): local intrinsic dimension in every layer, −(mean of ln(r_i / r_k))⁻¹ over the 20 nearest.

    Distances are to one batch of 100 clean training images; an image of that batch is not its own neighbour.

    Args:
        seed: Of the choice of the batch.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def learn(self, train: Seen) -> None:
        """Choose the batch."""
        chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))[:_LID_BATCH]
        self.state |= {f"batch.{i}": layer[chosen] for i, layer in enumerate(train.pooled)}

    def each(self, seen: Seen) -> Tensor:
        """Return the dimension in each layer."""
        return torch.stack([local_dimension(layer, self.state[f"batch.{i}"]) for i, layer in enumerate(seen.pooled)], 1)


def local_dimension(points: Tensor, batch: Tensor, nearest: int = _LID_NEAREST) -> Tensor:
    """Return the maximum likelihood estimate of the local intrinsic dimension at points, `(N,)`.

    Args:
        points: `(N, C)`.
        batch: `(M, C)`; a point that is in it is left out.
        nearest: k; all but one of a smaller batch.
    """
    distance = torch.cdist(points, batch, compute_mode="donot_use_mm_for_euclid_dist")
    distance = distance.masked_fill(distance < 1e-9, torch.inf)
    near = distance.topk(min(nearest, len(batch) - 1), dim=1, largest=False).values
    ratio = (near / near[:, -1:]).clamp_min(1e-12).log()
    return -1 / ratio.mean(dim=1).clamp(max=-1e-6)


class Mahalanobis(Combined):
    """Lee 2018: half the squared Mahalanobis distance to the nearest class with one covariance, layer by layer.

    The covariance is the empirical one, inverted on its support. Lee's step on the image beforehand is left out.

    Args:
        last: Look at the head's input alone, whose distance is then the score.
    """

    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.last = last

    def learn(self, train: Seen) -> None:
        """Estimate the means of the classes and the inverse covariance of each layer."""
        from scipy.linalg import pinvh

        for i, layer in self._layers(train):
            features = layer.double()
            means = torch.stack([features[train.labels == k].mean(dim=0) for k in range(train.logits.shape[1])])
            centred = features - means[train.labels]
            values, vectors = np.linalg.eigh(np.asarray(pinvh((centred.T @ centred / len(features)).cpu().numpy())))
            root = vectors * np.sqrt(np.maximum(values, 0))
            self.state |= {f"means.{i}": means.float(), f"root.{i}": torch.from_numpy(root).float().to(means.device)}

    def _layers(self, seen: Seen) -> list[tuple[int, Tensor]]:
        return list(enumerate(seen.pooled))[-1 if self.last else 0 :]

    def each(self, seen: Seen) -> Tensor:
        """Return the distance in each layer."""
        found = []
        for i, layer in self._layers(seen):
            white = (layer[:, None] - self.state[f"means.{i}"]) @ self.state[f"root.{i}"]
            found.append(white.square().sum(dim=2).amin(dim=1) / 2)
        return torch.stack(found, dim=1)

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Learn the distances, and over several layers their weights."""
        if self.last:
            self.learn(train)
        else:
            super().fit(train, normal, attacked)

    def score(self, seen: Seen) -> Tensor:
        """Return the weighted sum, or the one distance."""
        return self.each(seen)[:, 0] if self.last else super().score(seen)


class Neighbours(Detector):
    """DkNN (Papernot 2018): how few of the 5 nearest training images by cosine have the predicted class, in all layers.

    It has no gradient.
    """

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Keep the training features as directions."""
        self.state = {f"points.{i}": _direction(layer) for i, layer in enumerate(train.pooled)}
        self.state["labels"] = train.labels

    def score(self, seen: Seen) -> Tensor:
        """Return the share of neighbours of other classes, summed over layers."""
        found = seen.logits.new_zeros(len(seen))
        for i, layer in enumerate(seen.pooled):
            near = (_direction(layer) @ self.state[f"points.{i}"].T).topk(_NEIGHBOURS, dim=1).indices
            found = found + (self.state["labels"][near] != seen.predicted[:, None]).float().mean(dim=1)
        return found


def _direction(points: Tensor) -> Tensor:
    length = points.square().sum(dim=1, keepdim=True).sqrt()
    return points / length.clamp_min(1e-12)
