"""The loss of EnLVAM, which WiseLVAM has too."""

from __future__ import annotations

import torch
from torch import Tensor


def points_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean over images of the Euclidean norm of all coordinates' errors, as in the public code.

    Args:
        predicted: `(B, K, 2)` in pixels.
        truth: `(B, K, 2)`, NaN where missing; an image with a missing point does not count.

    Returns:
        `()`; 0, with gradients, where no image counts.
    """
    complete = torch.isfinite(truth).flatten(1).all(dim=1)
    errors = (predicted - truth)[complete].flatten(1)
    norms = torch.linalg.vector_norm(errors, dim=1)
    return norms.mean() if len(norms) else 0 * predicted.sum()
