"""Feature-level registration: the siamese head that compares two feature maps, and its loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Siamese(nn.Module):
    """Encoder and predictor of SimSiam made of 1 × 1 convolutions, so that positions stay.

    Args:
        channels: Of the features.
        inside: Of everything within and of what comes out; None: as many as the features have.
    """

    def __init__(self, channels: int, inside: int | None = None) -> None:
        super().__init__()
        width = inside or channels
        self.encoder = nn.Sequential(*_point(channels, width), *_point(width, width), _conv(width, width))
        self.predictor = nn.Sequential(*_point(width, width), _conv(width, width))

    def forward(self, query: Tensor, support: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return `z` and `p` of the query, then of the support."""
        zq, zs = self.encoder(query), self.encoder(support)
        return zq, self.predictor(zq), zs, self.predictor(zs)


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


def _conv(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 1, bias=False)


def _point(channels: int, out: int) -> Sequence[nn.Module]:
    return _conv(channels, out), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
