"""The frame of a three-dimensional U-Net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VolumeUNet(nn.Module):
    """Goes down by maxima of 2 × 2 × 2 voxels and up again, with the features of each level on the way.

    A subclass makes the blocks, finest first on the way down and coarsest first on the way up; `raised` may be
    overridden where `lift` does not double the resolution by itself.
    """

    down: nn.ModuleList
    lift: nn.ModuleList
    up: nn.ModuleList
    head: nn.Conv3d

    def raised(self, lift: nn.Module, x: Tensor) -> Tensor:
        """Return features at twice the resolution."""
        wide: Tensor = lift(x)
        return wide

    def forward(self, x: Tensor) -> Tensor:
        """Return what the head makes, `(B, K, D, H, W)`.

        Args:
            x: `(B, 1, D, H, W)` in [0, 1]; extents divisible by two to the number of levels less one.
        """
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool3d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for lift, block in zip(self.lift, self.up, strict=True):
            x = block(torch.cat([self.raised(lift, x), skips.pop()], dim=1))
        made: Tensor = self.head(x)
        return made
