"""How far a restoration is from its image: squares, gradients at four scales, structure; and the loss of the masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses.ssim_loss import SSIMLoss
from torch import Tensor

SCALES = 4
_FLAT = 0.0026  # keeps the similarity of flat regions near 1


def similarity(one: Tensor, other: Tensor) -> Tensor:
    r"""Return the similarity of gradients $\frac{2gg' + c}{g^2 + g'^2 + c}$ in (0, 1], `(B, H − 2, W − 2)`, c = 0.0026.

    g is the magnitude of the Prewitt gradient (thirds, no padding) of the 3 × 3 median of the mean of the channels,
    as in RIAD (Zavrtanik et al. 2021) and the public code of SSM.

    Args:
        one: `(B, 3, H, W)`.
        other: Likewise.
    """
    first, second = _gradient(one), _gradient(other)
    return (2 * first * second + _FLAT) / (first.square() + second.square() + _FLAT)


def similarity_map(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean of the similarity of gradients over four scales at each pixel, `(B, H, W)`; 1 where equal."""
    size = one.shape[-2:]
    found = []
    for scale in range(SCALES):
        if scale:
            one, other = F.avg_pool2d(one, 2), F.avg_pool2d(other, 2)
        near = F.pad(similarity(one, other)[:, None], (1, 1, 1, 1), mode="replicate")
        found.append(F.interpolate(near, size, mode="bilinear", align_corners=False))
    return torch.cat(found, dim=1).mean(1)


def gradient_loss(one: Tensor, other: Tensor) -> Tensor:
    """Return one minus the similarity of gradients, the mean over four scales (MSGMS)."""
    total = one.new_zeros(())
    for scale in range(SCALES):
        if scale:
            one, other = F.avg_pool2d(one, 2), F.avg_pool2d(other, 2)
        total = total + (1 - similarity(one, other)).mean()
    return total / SCALES


def restoration_loss(made: Tensor, image: Tensor) -> Tensor:
    r"""Return $\mathrm{MSE} + \mathrm{MSGMS} + (1 - \mathrm{SSIM}_{11, \sigma 1.5})$ of a restoration, weights of 1.

    Args:
        made: `(B, 3, H, W)`.
        image: Likewise, in [0, 1].
    """
    structure: Tensor = SSIMLoss(spatial_dims=2, data_range=1.0, win_size=11, kernel_sigma=1.5)(made, image)
    return F.mse_loss(made, image) + gradient_loss(made, image) + structure


def mask_loss(found: Tensor, shown: Tensor) -> Tensor:
    """Return the sum over the masks of the mean squared error of their restoration.

    Args:
        found: `(B, 3, H, W)` restored masks.
        shown: The masks.
    """
    return (found - shown).square().mean((0, 2, 3)).sum()


def _gradient(image: Tensor) -> Tensor:
    """Return `(B, H − 2, W − 2)`; the small constant keeps the derivative finite where an image is flat."""
    grey = F.pad(image.mean(1, keepdim=True), (1, 1, 1, 1), mode="reflect")
    windows = F.unfold(grey, 3).reshape(image.shape[0], 9, *image.shape[-2:])
    smooth = windows.topk(5, dim=1).values[:, 4:]  # the median, of operators that ONNX has
    across = smooth.new_tensor([[1.0, 0.0, -1.0]] * 3) / 3
    both = F.conv2d(smooth, torch.stack([across, across.T])[:, None])
    return (both.square().sum(1) + 1e-12).sqrt()
