"""How far layers are from the ones that made a volume."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-7


def layer_loss(made: Tensor, layer: Tensor, mask: Tensor) -> Tensor:
    r"""Return $\lVert \hat l - l \rVert_1 + \lVert \hat l - l \rVert_1$ where $m \neq 0$, both means over voxels.

    The second term is left out where the mask is empty or full.

    Args:
        made: A layer of the network, any shape.
        layer: What it should be, same shape.
        mask: Bool, same shape.
    """
    error = (made - layer).abs()
    inside = error[mask]
    return error.mean() + inside.mean() if 0 < inside.numel() < error.numel() else error.mean()


def dice_loss(logits: Tensor, mask: Tensor, counted: Tensor | None = None) -> Tensor:
    r"""Return $1 - \frac{2 \sum p m + \epsilon}{\sum p + \sum m + \epsilon}$ over the batch, $\epsilon = 10^{-7}$.

    Args:
        logits: Of the mask, any shape.
        mask: Bool, same shape.
        counted: Bool, the voxels that count; None: all.
    """
    share, truth = torch.sigmoid(logits), mask.to(logits.dtype)
    if counted is not None:
        share, truth = share * counted, truth * counted
    return 1 - (2 * (share * truth).sum() + _LEAST) / (share.sum() + truth.sum() + _LEAST)


def decomposition_loss(
    made: tuple[Tensor, Tensor, Tensor], normal: Tensor, tumour: Tensor, mask: Tensor, counted: Tensor | None = None
) -> Tensor:
    """Return the sum of the losses of both layers and the mask, each with a weight of 1.

    Args:
        made: Normal layer, tumour layer and logits of the mask, each `(B, D, H, W)`.
        normal: Healthy volumes.
        tumour: What is seen inside of the mask, 0 elsewhere.
        mask: Bool.
        counted: The voxels whose mask counts; None: all.
    """
    return layer_loss(made[0], normal, mask) + layer_loss(made[1], tumour, mask) + dice_loss(made[2], mask, counted)
