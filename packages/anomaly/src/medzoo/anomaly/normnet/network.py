"""The voxel classifier: a three-dimensional U-Net with instance normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.anomaly.lesions.unet import VolumeUNet


class Block(nn.Sequential):
    """Two 3 × 3 × 3 convolutions, each with instance normalisation and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv3d(channels, outputs, 3, padding=1, bias=False),
                nn.InstanceNorm3d(outputs, affine=True),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*layers)


class UNet3d(VolumeUNet):
    """Gives each voxel the logit of being healthy tissue that the net knows.

    Args:
        widths: Channels of each level; every level halves the resolution.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256, 320)) -> None:
        super().__init__()
        self.depth = len(widths) - 1
        self.down = nn.ModuleList(Block(i, o) for i, o in zip((1, *widths), widths, strict=False))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.lift = nn.ModuleList(nn.Conv3d(i, o, 1) for i, o in pairs)
        self.up = nn.ModuleList(Block(2 * o, o) for _, o in pairs)
        self.head = nn.Conv3d(widths[0], 1, 1)

    def raised(self, lift: nn.Module, x: Tensor) -> Tensor:
        """Return features at twice the resolution, with as many channels as the level there has."""
        # Interpolating before the 1 × 1 × 1 convolution would cost eight times as much.
        return F.interpolate(lift(x), scale_factor=2, mode="nearest")
