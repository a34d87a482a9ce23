"""Weights and inputs that any program can make: with them public code, run apart, gave the values that tests hold."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from medzoo.landmark.echo.phantom import plax_clip


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


@pytest.fixture
def echo_clips(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of a folder of drawn clips with their exact points."""

    def make(count: int = 5) -> Path:
        root = tmp_path / "clips"
        names = [f"{axis}{number}" for number in range(4) for axis in "xy"]
        lines = [",".join(["clip", "frame", "phase", *names, "spacing_x", "spacing_y", "rate", "patient"])]
        for clip in range(count):
            drawn = plax_clip((11, clip), (24, 32), 24)
            folder = root / f"clip{clip}"
            folder.mkdir(parents=True)
            for number, frame in enumerate(drawn.clip):
                Image.fromarray(np.round(frame * 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
            for key, phase, points in zip(drawn.keys, "ds", drawn.points, strict=True):
                cells = [
                    f"clip{clip}",
                    key,
                    phase,
                    *points.ravel().tolist(),
                    *drawn.spacing,
                    drawn.rate,
                    f"p{clip // 2}",
                ]
                lines.append(",".join(map(str, cells)))
        (root / "calipers.csv").write_text("\n".join(lines) + "\n")
        return root

    return make
