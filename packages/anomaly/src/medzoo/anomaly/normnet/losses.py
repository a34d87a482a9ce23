"""The normalcy-recognising loss: only bright voxels count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTH = 1.0


def labels(before: Tensor, contribution: Tensor, level: float, least: float, keep_vessels: bool) -> Tensor:
    """Return 1 where a bright voxel is normal and 0 where a synthetic lesion made or changed it.

    Args:
        before: Image without lesions, in [0, 1].
        contribution: What the lesions add, same shape.
        level: τ, brightness from which voxels count.
        least: η, contribution from which a voxel belongs to a lesion.
        keep_vessels: Call a voxel normal that was bright before, even inside a lesion.
    """
    lesion = contribution.abs() >= least
    if keep_vessels:
        lesion = lesion & (before < level)
    return (~lesion).to(before.dtype)


def normalcy_loss(logits: Tensor, target: Tensor, bright: Tensor, focus: float = 0.0) -> Tensor:
    r"""Return `BCE + 1 − Dice` of the abnormal class over bright voxels alone.

    $L = \frac{1}{|H|}\sum_{v\in H} |y_v-p_v|^\gamma\,\mathrm{BCE}(p_v, y_v)
    + 1 - \frac{2\sum_H (1-p)(1-y) + 1}{\sum_H (1-p) + \sum_H (1-y) + 1}$

    Dark voxels are noise that no network can recognise and would outnumber the bright ones twenty to one; the gradient
    there is exactly 0.

    Args:
        logits: Of being normal, any shape.
        target: 1 normal, 0 lesion, same shape.
        bright: Bool, H: voxels of the organ at or above τ.
        focus: γ of the focal weight, 0 for plain cross entropy.
    """
    chosen, truth = logits[bright], target[bright]
    if not chosen.numel():
        return (logits * 0).sum()
    entropy = F.binary_cross_entropy_with_logits(chosen, truth, reduction="none")
    abnormal = torch.sigmoid(-chosen)
    if focus:
        entropy = entropy * (truth - 1 + abnormal).abs() ** focus
    overlap = 2 * (abnormal * (1 - truth)).sum() + _SMOOTH
    total = abnormal.sum() + (1 - truth).sum() + _SMOOTH
    return entropy.mean() + 1 - overlap / total
