"""The registration loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def registration_loss(zq: Tensor, pq: Tensor, zs: Tensor, ps: Tensor) -> Tensor:
    r"""Return $\frac12 D(p_q, \mathrm{sg}(z_s)) + \frac12 D(p_s, \mathrm{sg}(z_q))$ (RegAD, eq. 2).

    D is minus the mean over positions of the cosine along channels; without stopping the gradient at z everything
    collapses to one vector.

    Args:
        zq: `(B, C, h, w)` encoded query.
        pq: Its prediction.
        zs: Encoded support.
        ps: Its prediction.
    """
    first = F.cosine_similarity(pq, zs.detach(), dim=1).mean()
    second = F.cosine_similarity(ps, zq.detach(), dim=1).mean()
    return -(first + second) / 2
