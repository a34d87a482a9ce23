"""The detector of WiseLVAM: four points and the contour of the cavity in a key frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medzoo.landmark.echo.network import HeatUNet, mean_position, probabilities


class ContourNet(nn.Module):
    """A U-Net with a heat map for each of the four points and for each other place of the two arcs.

    Args:
        places: Of an arc, odd; the middle one is the inner point of septum or posterior wall itself.
        widths: Channels of the U-Net, from full resolution down.
    """

    def __init__(self, places: int = 7, widths: Sequence[int] = (6, 12, 24, 48)) -> None:
        super().__init__()
        self.places = places
        self.maps = HeatUNet(4 + 2 * (places - 1), widths)

    def forward(self, image: Tensor) -> Tensor:
        """Map images `(M, 1, H, W)` to logits of heat maps `(M, K, H, W)`."""
        logits: Tensor = self.maps(image)
        return logits

    def read(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return points `(M, 4, 2)` and contours `(M, 2, places, 2)`, (x, y) in pixels, from the maps' mean places."""
        found = mean_position(probabilities(logits.float()))
        points, others = found[:, :4], found[:, 4:].unflatten(1, (2, self.places - 1))
        half = self.places // 2
        return points, torch.cat([others[:, :, :half], points[:, 1:3, None], others[:, :, half:]], dim=2)

    def read_both_ways(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `read` finds in images `(M, 1, H, W)`, the mean of that in the image and in its mirror image.

        It is trained on both. The mean turns the line less often wrongly than one of them.
        """
        (points, contours), mirrored = self.read(self(image)), self.read(self(image.flip(-1)))
        width = image.shape[-1]
        other, arcs = (torch.cat([width - 1 - part[..., :1], part[..., 1:]], dim=-1) for part in mirrored)
        return (points + other) / 2, (contours + arcs.flip(2)) / 2


def in_order(points: Tensor, contours: Tensor) -> Tensor:
    """Return the places of points `(M, 4, 2)` and contours `(M, 2, J, 2)` in the order of the network's maps."""
    half = contours.shape[2] // 2
    others = torch.cat([contours[:, :, :half], contours[:, :, half + 1 :]], dim=2)
    return torch.cat([points, others.flatten(1, 2)], dim=1)
