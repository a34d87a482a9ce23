"""How far a restoration is from its image: squared in training, absolute and normalised in a test."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def restoration_loss(made: Tensor, image: Tensor) -> Tensor:
    r"""Return $\mathrm{mean} \lVert \hat x - x \rVert_2^2$ of `(B, 3, H, W)` (ARNet, §III)."""
    return F.mse_loss(made, image)


def absolute_errors(made: Tensor, image: Tensor) -> Tensor:
    r"""Return $\lVert \hat x - x \rVert_1$ at each pixel, the mean over channels, `(B, H, W)`."""
    return (made - image).abs().mean(1)


def normalised_score(errors: Tensor, normal: Tensor) -> Tensor:
    r"""Return $\frac{1}{|O|} \sum_k \lVert \hat x_k - x \rVert_1 / \epsilon_k$, on average 1 in training.

    Args:
        errors: `(B, |O|)` of each operation.
        normal: `(|O|,)` their means over the normal training images.
    """
    return (errors / normal.clamp_min(1e-12)).mean(1)
