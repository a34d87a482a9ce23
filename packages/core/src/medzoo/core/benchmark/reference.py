"""How fast this machine is at this moment: a small training whose samples a second a fit's are divided by."""

from __future__ import annotations

import time

import torch
from torch import nn

_BATCH, _SIDE, _WIDTH = 8, 64, 16


def reference_rate(device: str, seconds: float = 0.5) -> float:
    """Return samples a second of a training of three 3×3 convolutions (1-16-16-1) on batches of 8 images of 64².

    Args:
        device: `cpu` or `cuda`.
        seconds: How long to train; a tenth of it more is spent on warming up.
    """
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, 1))]
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    images = torch.randn(_BATCH, 1, _SIDE, _SIDE, generator=generator).to(device)

    def steps(duration: float) -> float:
        done, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < duration:
            optimiser.zero_grad()
            loss = (network(images) - images).square().mean()
            loss.backward()
            optimiser.step()
            loss.item()  # waits for the device
            done += 1
        return done * _BATCH / passed

    steps(seconds / 10)
    return steps(seconds)
