"""The rare small rotations and shifts with which GU2Net is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medzoo.landmark.matching.patches import read


@dataclass(frozen=True)
class Nudge:
    """Rotates some images of a batch about their centres and shifts some, with their landmarks.

    Attributes:
        angle: Degrees, towards the positive y axis.
        shift: Pixels along both axes.
        rate: Probability of the rotation, and of the shift, for each image.
        fixed: Always by `angle` and `shift`, as in the public code; otherwise evenly drawn up to them, either way.
    """

    angle: float = 2.0
    shift: float = 10.0
    rate: float = 0.1
    fixed: bool = False

    def __call__(self, image: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Return nudged images `(B, C, H, W)`, 0 beyond their borders, and landmarks `(B, K, 2)` (x, y)."""
        b, _, h, w = image.shape
        size = torch.ones(b, 3) if self.fixed else 2 * torch.rand(b, 3) - 1
        chosen = torch.rand(b, 2) < self.rate
        angle = (size[:, 0] * chosen[:, 0] * math.radians(self.angle)).to(image)
        shift = (size[:, 1:] * chosen[:, 1:] * self.shift).to(image)[:, None]
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([cos, sin, -sin, cos], dim=1).view(b, 2, 2)  # row vectors: p' = (p - c) turn + c + shift
        centre = image.new_tensor([(w - 1) / 2, (h - 1) / 2])
        moved = (landmarks - centre) @ turn + centre + shift
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        pixels = torch.stack([xs, ys], dim=-1).to(image).view(1, h * w, 2)
        sources = (pixels - shift - centre) @ turn.mT + centre
        return read(image, sources.view(b, h, w, 2)), moved
