"""Corruptions: what each severity does to images of any number of axes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medzoo.adversarial.engine import CORRUPTIONS, Corruption, Victim
from medzoo.adversarial.engine.corruptions import fits
from medzoo.core.errors import ConfigError


def corrupted(images: Tensor, kind: str, severity: int, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    victim = Victim(lambda x: x.flatten(1)[:, :2], bounds=bounds)
    found = Corruption(kind=kind, severity=severity)(victim, images, torch.zeros(len(images), dtype=torch.int64))
    return found.images


def smooth(shape: tuple[int, ...]) -> Tensor:
    """Images with low and high frequencies, within 0.2 to 0.8."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.3, 0.7, shape[-1]).expand(shape)
    return ramp + 0.2 * torch.rand(shape, generator=generator) - 0.1


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_more_severe_is_farther_away_and_the_same_each_time(kind: str) -> None:
    images = smooth((4, 1, 48, 40))
    sizes = [float((corrupted(images, kind, level) - images).norm()) for level in (1, 3, 5)]
    assert 0 < sizes[0] < sizes[1] < sizes[2]
    assert torch.equal(corrupted(images, kind, 3), corrupted(images, kind, 3))


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - {"jpeg"}))
def test_volumes_in_their_own_unit_are_corrupted_within_their_bounds(kind: str) -> None:
    volume = 1000 * smooth((1, 1, 12, 16, 20)) - 500
    found = corrupted(volume, kind, 4, (-500.0, 500.0))
    assert found.shape == volume.shape
    assert float(found.amin()) >= -500
    assert float(found.amax()) <= 500
    assert not torch.equal(found, volume)


def test_what_each_leaves_alone() -> None:
    images = smooth((3, 1, 32, 32))
    means = images.mean(dim=(1, 2, 3))
    for kind in ("blur", "pixelate", "less-contrast"):
        torch.testing.assert_close(corrupted(images, kind, 3).mean(dim=(1, 2, 3)), means, atol=0.02, rtol=0)
    flat = torch.full((1, 1, 16, 16), 0.5)
    torch.testing.assert_close(corrupted(flat, "blur", 5), flat)
    torch.testing.assert_close(corrupted(flat, "brighter", 2), flat + 0.1)
    torch.testing.assert_close(corrupted(flat, "gamma-up", 1), flat**1.2)
    noise = corrupted(flat.expand(64, 1, 16, 16), "gaussian-noise", 3) - flat
    assert float(noise.std()) == pytest.approx(0.06, rel=0.02)
    hit = (corrupted(flat.expand(64, 1, 16, 16), "impulse-noise", 5) != 0.5).float().mean()
    assert float(hit) == pytest.approx(0.08, rel=0.1)


def test_a_jpeg_has_two_axes() -> None:
    assert fits("jpeg", torch.zeros(3, 8, 8))
    assert not fits("jpeg", torch.zeros(2, 8, 8))
    assert fits("blur", torch.zeros(1, 4, 8, 8))
    with pytest.raises(ConfigError, match="jpeg: it is of images with two axes"):
        corrupted(torch.rand(1, 1, 4, 4, 4), "jpeg", 1)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"kind": "fog", "severity": 1}, "corruption: expected"),
        ({"kind": "blur", "severity": 6}, "severity: expected 1"),
    ],
)
def test_a_wrong_setting_is_one_line(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        corrupted(torch.rand(1, 1, 8, 8), **settings)
