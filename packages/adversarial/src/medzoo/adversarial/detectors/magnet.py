"""MagNet (Meng and Chen 2017): an autoencoder of clean images, and how far an image and its answer are from its own."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medzoo.adversarial.detectors.base import Detector
from medzoo.adversarial.detectors.seen import Seen, Watched

_NOISE, _STEPS, _BATCH, _RATE, _WIDTH, _HEAT = 0.02, 150, 32, 3e-3, 8, 10.0


class MagNet(Detector):
    """One of its two detectors.

    Args:
        watched: The classifier that answers for the reconstruction.
        by: `error`: mean absolute difference of image and reconstruction; `answer`: Jensen–Shannon divergence of the
            classifier's softmax at temperature 10 for both.
        seed: Of weights, noise and order.
    """

    def __init__(self, watched: Watched, by: Literal["error", "answer"], seed: int = 0) -> None:
        super().__init__()
        self.watched, self.by, self.seed = watched, by, seed
        self.network: nn.Sequential | None = None

    def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
        """Train the autoencoder on clean training images with a little noise."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = _autoencoder(train.images.shape[1]).to(train.images.device)
        generator = torch.Generator().manual_seed(self.seed)
        optimiser = torch.optim.Adam(network.parameters(), _RATE)
        for _ in range(_STEPS):
            clean = train.images[torch.randint(len(train), (_BATCH,), generator=generator)]
            noisy = clean + _NOISE * torch.randn(clean.shape, generator=generator).to(clean)
            loss = F.mse_loss(_cut(network(noisy), clean), clean)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self.network = network.requires_grad_(False)
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def rebuilt(self, images: Tensor) -> Tensor:
        """Return the reconstruction, which the reformer gives the classifier instead."""
        if self.network is None:
            self.network = _autoencoder(self.state["0.weight"].shape[1])
        return _cut(functional_call(self.network, self.state, (images,)), images).clamp(0, 1)

    def score(self, seen: Seen) -> Tensor:
        """Return the difference."""
        rebuilt = self.rebuilt(seen.images)
        if self.by == "error":
            return (seen.images - rebuilt).abs().flatten(1).mean(dim=1)
        first, second = (
            F.log_softmax(logits / _HEAT, dim=1) for logits in (seen.logits, self.watched.classify(rebuilt))
        )
        middle = ((first.exp() + second.exp()) / 2).log()
        return sum(
            ((p.exp() * (p - middle)).sum(dim=1) / 2 for p in (first, second)), start=first.new_zeros(len(first))
        )


def _autoencoder(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, _WIDTH, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True),
        nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2.0),
        nn.Conv2d(_WIDTH, channels, 3, padding=1),
    )  # fmt: skip


def _cut(rebuilt: Tensor, images: Tensor) -> Tensor:
    """Return reconstructions of the images' size: those of an odd number of pixels come out one larger."""
    return rebuilt[..., : images.shape[-2], : images.shape[-1]]
