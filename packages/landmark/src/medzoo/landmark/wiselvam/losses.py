"""The losses on points and contour in the key frame; ours, since the published ones are not known."""

from __future__ import annotations

from torch import Tensor

from medzoo.landmark.networks.targets import gaussian


def heat_loss(logits: Tensor, places: Tensor, sigma: float) -> Tensor:
    """Return the mean cross-entropy of heat maps against Gaussians about the places.

    It draws a map together long before the distance of its mean position would.

    Args:
        logits: `(M, K, H, W)`.
        places: `(M, K, 2)` (x, y) in pixels, NaN where unknown; those outside the image do not count either.
        sigma: Of the Gaussians, in pixels.
    """
    target = gaussian(places, (logits.shape[2], logits.shape[3]), sigma)
    extent = places.new_tensor(logits.shape[:1:-1]) - 0.5
    counts = ((places >= -0.5) & (places <= extent)).all(dim=-1)  # not where it is NaN
    logs = logits.flatten(2).log_softmax(dim=2).view_as(logits)[counts]
    target = target[counts]
    if not len(target):
        return 0 * logits.sum()
    return -(target / target.sum(dim=(1, 2), keepdim=True) * logs).sum(dim=(1, 2)).mean()


def smoothness(contours: Tensor) -> Tensor:
    """Return the mean squared second difference along the arcs `(M, 2, J, 2)`, ‖Δ²c‖² in pixels²."""
    return contours.diff(n=2, dim=2).square().sum(dim=-1).mean()
