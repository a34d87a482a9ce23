"""The Cushion, which takes high frequencies from images, and the Shield, which predicts logits from early features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.errors import ConfigError


class Cushion(nn.Module):
    """Gaussian low-pass with reflected borders; linear, and 1 for constant images.

    Args:
        sigma: Standard deviation in pixels; 0 changes nothing.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        radius = math.ceil(3 * sigma)
        place = torch.arange(-radius, radius + 1, dtype=torch.float32)
        kernel = torch.exp(-(place**2) / (2 * sigma**2)) if sigma > 0 else torch.ones(1)
        self.kernel: Tensor
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return smoothed images `(B, C, H, W)`, with gradients.

        Raises:
            ConfigError: The low-pass is wider than the images can be reflected.
        """
        count, channels, radius = len(self.kernel), image.shape[1], len(self.kernel) // 2
        if count == 1:
            return image
        if radius >= min(image.shape[-2:]):
            height, width = image.shape[-2:]
            raise ConfigError(
                f"--model.sigma: a low-pass that reaches {radius} pixels is too wide for images of {height} × {width}"
            )
        padded = F.pad(image, (radius, radius, radius, radius), mode="reflect")
        row = self.kernel.to(image).reshape(1, 1, 1, count).expand(channels, 1, 1, count)
        return F.conv2d(F.conv2d(padded, row, groups=channels), row.transpose(2, 3), groups=channels)


class Shield(nn.Module):
    """For each class a head that predicts all logits from an early map, for images that are called that class.

    Args:
        channels: Of the map.
        classes: K.
        width: Channels of the first convolution; the second has twice as many.
    """

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes),
            )
            for _ in range(classes)
        )  # fmt: skip
        self.mean: Tensor
        self.spread: Tensor
        self.scale: Tensor
        self.doubt: Tensor
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        self.register_buffer("scale", torch.ones(classes))  # of the logits
        self.register_buffer("doubt", torch.ones(classes))  # standard deviation of the residual on clean images

    def forward(self, maps: Tensor, called: Tensor) -> Tensor:
        """Return the logits `(B, K)` that the head of the called class expects.

        Args:
            maps: `(B, channels, H, W)`.
            called: `(B,)` int64, the class that each image is called.
        """
        x = (maps - self.mean) / self.spread
        found = x.new_zeros(len(x), len(self.heads))
        for k, head in enumerate(self.heads):
            rows = torch.nonzero(called == k)[:, 0]
            if len(rows):
                found = found.index_copy(0, rows, head(x[rows]))
        return found * self.scale

    def score(self, maps: Tensor, logits: Tensor) -> Tensor:
        """Return ‖(z − ẑ_c) / std‖ `(B,)` for the class c that the logits z call."""
        residual = (logits - self(maps, logits.argmax(dim=1))) / self.doubt
        length: Tensor = (residual.square().sum(dim=1) + 1e-12).sqrt()
        return length


def train_shield(shield: Shield, maps: Tensor, logits: Tensor, steps: int, generator: torch.Generator) -> None:
    """Train all heads on clean images that are called their class: squared error of logits over their spread.

    Args:
        shield: Changed in place.
        maps: `(N, channels, H, W)` without gradients; nothing reaches the classifier.
        logits: `(N, K)` of the classifier.
        steps: Of Adam, 32 images each.
        generator: Of their order.
    """
    shield.mean = maps.mean(dim=(0, 2, 3)).reshape(-1, 1, 1)
    shield.spread = maps.std(dim=(0, 2, 3)).reshape(-1, 1, 1).clamp_min(1e-6)
    shield.scale = logits.std(dim=0).clamp_min(1e-6)
    optimiser = torch.optim.Adam(shield.heads.parameters(), 1e-3, weight_decay=1e-4)
    called = logits.argmax(dim=1)
    for _ in range(steps):
        rows = torch.randint(len(maps), (32,), generator=generator).to(maps.device)
        expected = shield(maps[rows], called[rows])
        loss = ((expected - logits[rows]) / shield.scale).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
