"""The three-dimensional U-Net that takes a volume apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from medzoo.anomaly.lesions.unet import VolumeUNet
from medzoo.core.errors import ConfigError

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": partial(nn.InstanceNorm3d, affine=True),
    # Batch statistics in evaluation as well, as the public code has it: answers depend on what else is in the batch.
    "batch": partial(nn.BatchNorm3d, track_running_stats=False),
}
NORMAL, TUMOUR, MASK = range(3)
"""Channels of the network."""
_START = -3.0
"""Logit of the mask at first: Dice alone takes very long to empty a mask that begins half full."""


class LayerUNet(VolumeUNet):
    """Gives each voxel what a healthy volume would show, what the tumour shows, and the logit of being tumour.

    These are the channels `NORMAL`, `TUMOUR` and `MASK`.

    With a width of 32 and four levels it has the layers and widths of the public code (19,073,795 parameters), which
    are those of Models Genesis.

    Args:
        width: Channels of the first convolution; a level gives twice as many, and the next one starts from that.
        levels: Resolutions, each half of the one before.
        norm: "instance", or "batch" for the statistics of the batch, in evaluation too.

    Raises:
        ConfigError: A number is below 1, or the norm is unknown.
    """

    def __init__(self, width: int = 32, levels: int = 4, norm: str = "instance") -> None:
        super().__init__()
        if width < 1 or levels < 2:
            raise ConfigError(f"--model.width, --model.levels: expected at least 1 and 2, got {width} and {levels}")
        if norm not in NORMS:
            raise ConfigError(f"--model.norm: expected one of {', '.join(NORMS)}, got {norm}")
        sizes = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(
            _double(1 if level == 0 else sizes[level], sizes[level], sizes[level + 1], norm) for level in range(levels)
        )
        outs = sizes[-2:0:-1]  # of each step up
        deeper = sizes[:1:-1]  # what it starts from
        self.lift = nn.ModuleList(nn.ConvTranspose3d(i, i, 2, stride=2) for i in deeper)
        self.up = nn.ModuleList(_double(i + o, o, o, norm) for i, o in zip(deeper, outs, strict=True))
        self.head = nn.Conv3d(sizes[1], 3, 1)
        assert self.head.bias is not None
        with torch.no_grad():
            self.head.bias[MASK] = _START


def composite(layers: Tensor) -> Tensor:
    r"""Return the volume that the layers make up, $\hat r = \sigma(\hat m)\,\hat t + (1 - \sigma(\hat m))\,\hat n$.

    Args:
        layers: `(B, 3, D, H, W)` of `LayerUNet`.

    Returns:
        `(B, D, H, W)`.
    """
    share = torch.sigmoid(layers[:, MASK])
    return share * layers[:, TUMOUR] + (1 - share) * layers[:, NORMAL]


def _double(inputs: int, inner: int, outputs: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in ((inputs, inner), (inner, outputs)):
        layers += [nn.Conv3d(i, o, 3, padding=1), NORMS[norm](o), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
