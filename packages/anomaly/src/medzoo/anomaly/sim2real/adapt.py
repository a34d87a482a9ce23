"""From unlabelled volumes to labels: what a teacher is sure of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from medzoo.anomaly.sim2real.network import MASK, NORMAL, TUMOUR


@dataclass(frozen=True)
class PseudoLabels:
    """What a teacher says about volumes, each `(B, D, H, W)`.

    Attributes:
        normal: Normal layer.
        tumour: Tumour layer, 0 outside of the mask.
        mask: Bool.
        sure: Bool, where the teacher is certain of the mask.
    """

    normal: Tensor
    tumour: Tensor
    mask: Tensor
    sure: Tensor


@torch.no_grad()
def pseudo_labels(
    teacher: nn.Module, images: Tensor, sure: float, smallest: float, spacing: Sequence[Sequence[float]]
) -> PseudoLabels:
    """Label volumes.

    Args:
        teacher: A `LayerUNet`.
        images: `(B, D, H, W)`.
        sure: Probability from which the teacher is certain; of healthy tissue, one less this.
        smallest: mm³; what is smaller is neither a tumour nor certain.
        spacing: Millimetres per voxel of each volume, any order.
    """
    layers = teacher(images[:, None])
    probability = torch.sigmoid(layers[:, MASK])
    found = probability > 0.5
    kept = torch.stack(
        [large_regions(mask, smallest / float(np.prod(s))) for mask, s in zip(found, spacing, strict=True)]
    )
    certain = ((probability >= sure) | (probability <= 1 - sure)) & (kept == found)
    return PseudoLabels(layers[:, NORMAL], layers[:, TUMOUR] * kept, kept, certain)


def large_regions(mask: Tensor, least: float) -> Tensor:
    """Return the connected regions of `(D, H, W)` bool that have at least `least` voxels."""
    regions, count = ndimage.label(mask.cpu().numpy(), np.ones((3, 3, 3), dtype=bool))
    if not count:
        return mask
    kept = np.bincount(regions.ravel()) >= least
    kept[0] = False
    return torch.from_numpy(kept[regions]).to(mask.device)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float, step: int) -> None:
    """Move the teacher's weights towards the student's, fast at first: `θ' ← μθ' + (1 − μ)θ`.

    Args:
        teacher: Is changed.
        student: Of the same kind.
        momentum: μ in the end; at step `n` at most `(1 + n) / (10 + n)`.
        step: Number of steps so far.
    """
    now = min(momentum, (1 + step) / (10 + step))
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new, 1 - now)
