"""Weights and inputs that any program can make: with them public code, run apart, gave the values that tests hold."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def numbers() -> Callable[[Sequence[int], str], Tensor]:
    """Numbers of a shape in [-0.5, 0.5), float64, that look random and depend on a name alone."""
    return _numbers


@pytest.fixture
def known_weights() -> Callable[[nn.Module], None]:
    """Bring a network to float64 and give each of its parameters numbers by its name."""

    def fill(network: nn.Module) -> None:
        network.double()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                values = _numbers(parameter.shape, name)
                if parameter.ndim > 1:
                    parameter.copy_(5 * values / math.sqrt(parameter[0].numel()))  # keeps the size of a signal
                else:
                    parameter.copy_(0.5 * values + name.endswith("weight"))

    return fill


@pytest.fixture
def seen_through() -> Callable[[Tensor], float]:
    """One number that depends on each value of a tensor and on its place."""
    return lambda x: float((x * _numbers(x.shape, "probe")).sum())


def _numbers(shape: Sequence[int], name: str) -> Tensor:
    index = torch.arange(math.prod(shape), dtype=torch.float64) + zlib.crc32(name.encode()) % 1000
    spread = (12.9898 * index).sin() * 43758.5453
    return (spread - spread.floor() - 0.5).view(*shape)
