"""Small victims: a trained classifier of bars, and networks of any shape with fixed random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Network = Callable[..., nn.Sequential]


class Trained(NamedTuple):
    """A classifier with images that it gets right."""

    network: nn.Sequential
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="session")
def network() -> Network:
    """Makes a small network with batch norm for images of any number of axes and channels."""
    return _network


@pytest.fixture(scope="session")
def bars() -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """Makes images of three kinds of bars with their classes, from a number and a seed."""
    return _bars


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A classifier of three kinds of bars, in evaluation mode, with 24 grey images that it gets right."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = _network(2, 1, 3, width=8)
        optimizer = torch.optim.Adam(made.parameters(), 1e-2)
        for step in range(120):
            images, labels = _bars(48, step)
            optimizer.zero_grad()
            F.cross_entropy(made(images), labels).backward()
            optimizer.step()
    made.eval().zero_grad()
    images, labels = _bars(200, 10_000)
    with torch.no_grad():
        right = made(images).argmax(dim=1) == labels
    assert right.float().mean() > 0.95
    return Trained(made, images[right][:24], labels[right][:24])


def _network(nd: int, channels: int, classes: int, width: int = 6, seed: int = 0) -> nn.Sequential:
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[nd]
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[nd]
    pool = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[nd]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = nn.Sequential(
            conv(channels, width, 3, padding=1),
            norm(width),
            nn.ReLU(),
            conv(width, width, 3, padding=1, stride=2),
            norm(width),
            nn.ReLU(),
            pool(2),
            nn.Flatten(),
            nn.Linear(width * 2**nd, classes),
        )
        with torch.no_grad():  # the image decides the class, not the bias
            cast(nn.Linear, made[-1]).bias.sub_(made.eval()(torch.rand(16, channels, *[8] * nd)).mean(dim=0))
        return made.train()


def _bars(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = 0.4 + 0.15 * torch.rand(count, 1, 16, 16, generator=generator)
    places = torch.randint(3, 13, (count,), generator=generator)
    for image, label, place in zip(images, labels.tolist(), places.tolist(), strict=True):
        if label == 0:
            image[:, place] += 0.25
        elif label == 1:
            image[:, :, place] += 0.25
        else:
            image[0].diagonal(place - 8).add_(0.25)
    return images.clamp(0, 1), labels
