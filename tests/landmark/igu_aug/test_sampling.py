from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.landmark.igu_aug.information import entropy_map
from medzoo.landmark.igu_aug.sampling import CLASSES, DEFAULT, InformedSampler, classify, draw, sampling_weight
from medzoo.landmark.matching.cascade import Cascade
from medzoo.landmark.matching.patches import Jitter, Patches, Warp, sample_patches
from medzoo.landmark.networks.embedding import Embedders, EmbeddingUNet

STILL = Warp(0.0)
APART = {
    "low": {"brightness": (0.5, 0.55), "contrast": (1.0, 1.0)},
    "medium": {"brightness": (0.6, 0.7), "contrast": (1.0, 1.0)},
    "high": {"brightness": (0.8, 0.9), "contrast": (1.0, 1.0)},
}


def halves(batch: int, side: int = 64) -> Tensor:
    """Images whose left half is of four levels (two bits) and whose right half is noise (high)."""
    torch.manual_seed(1)
    image = torch.rand(batch, 1, side, side) * 0.5 + 0.4
    image[..., : side // 2] = torch.randint(4, (batch, 1, side, side // 2)) / 10 + 0.4
    return image


def points_of(alpha: float, image: Tensor, rounds: int = 1) -> Tensor:
    torch.manual_seed(0)
    sampler = InformedSampler(32, 1, STILL, alpha=alpha, radius=5)
    return torch.cat([sampler(image).targets[:, 0] for _ in range(rounds)])


def test_an_exponent_of_zero_draws_uniformly_as_cc2d_does() -> None:
    image = halves(500)
    ours = points_of(0.0, image, 4)
    theirs = torch.cat([sample_patches(image, 32, 1, STILL, Jitter()).targets[:, 0] for _ in range(4)])
    for points in (ours, theirs):
        assert points.amin() >= 3
        assert points.amax() <= 60.5
        cells = ((points - 3) / 58 * 5).clamp(0, 4.99).long()
        counts = torch.bincount(cells[:, 0] * 5 + cells[:, 1], minlength=25)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_a_larger_exponent_draws_pixels_of_more_entropy() -> None:
    image = halves(400)
    entropy = entropy_map(image, 5)
    means = []
    for alpha in (0.0, 0.3, 1.0, 4.0):
        x, y = points_of(alpha, image).round().long().unbind(-1)
        means.append(entropy[torch.arange(400), y, x].mean().item())
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.3


def test_a_threshold_draws_nothing_below_it_and_everything_else_alike() -> None:
    entropy = torch.tensor([[[0.5, 1.0], [2.0, 3.0]]])
    weight = sampling_weight(entropy, 0.3, 1.0)
    assert weight.flatten().tolist() == [0, 1, 1, 1]
    torch.manual_seed(0)
    drawn = draw(weight, 3000)[0]
    counts = [(drawn == torch.tensor(p)).all(-1).sum().item() for p in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0])]
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


def test_a_threshold_that_no_pixel_reaches_is_an_error_of_one_line() -> None:
    sampler = InformedSampler(32, 1, STILL, threshold=7.9, radius=5)
    with pytest.raises(
        ConfigError, match=r"--model.threshold: .* pixel of 7.9 bits \(its most is .*\); give a smaller"
    ):
        sampler(halves(2))


def test_pixels_have_the_intensities_of_their_class() -> None:
    torch.manual_seed(0)
    sampler = InformedSampler(16, 1, STILL, intervals=APART, radius=4, borders=(1.0, 3.0))
    image = halves(300)
    kind = classify(entropy_map(image, 4), sampler.borders)
    torch.manual_seed(0)
    patches = sampler(image)
    x, y = patches.targets[:, 0].round().long().unbind(-1)
    classes = kind[torch.arange(300), y, x]
    u, v = patches.points[:, 0].long().unbind(-1)
    factor = patches.image[torch.arange(300), 0, v, u] / image[torch.arange(300), 0, y, x]
    assert set(classes.tolist()) == {1, 2}
    for index in (1, 2):
        low, high = APART[CLASSES[index]]["brightness"]
        seen = factor[classes == index]
        assert low - 0.001 <= seen.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < seen.max() <= high + 0.001


def test_all_points_of_a_patch_are_of_the_first_ones_class() -> None:
    torch.manual_seed(0)
    sampler = InformedSampler(40, 30, Warp(20.0), radius=4, borders=(1.0, 3.0))
    image = halves(50)
    patches = sampler(image)
    kind = classify(entropy_map(image, 4), sampler.borders)
    x, y = patches.targets.round().long().clamp(0, 63).unbind(-1)
    classes = kind[torch.arange(50)[:, None], y, x]
    agree = (classes == classes[:, :1]).float().mean()  # interpolation may shift a point across the border of classes
    assert agree > 0.97
    assert patches.valid.float().mean() > 0.95


def test_with_one_class_the_loss_is_that_of_cc2d_with_its_augmentation() -> None:
    """A batch whose pixels are all of one class is a batch of CC2D with that class's intensities."""
    torch.manual_seed(0)
    network = Embedders([EmbeddingUNet(1, (4,) * 5, (1,) * 5, (4,) * 4, 4)]).eval()
    image = torch.rand(4, 1, 64, 64)
    same = {"brightness": (0.9, 0.9), "contrast": (1.1, 1.1)}
    other = {"brightness": (0.1, 0.1), "contrast": (3.0, 3.0)}
    sampler = InformedSampler(48, 1, STILL, intervals={"low": other, "medium": other, "high": same}, radius=6)
    kept: list[Patches] = []

    def informed(image: Tensor) -> Patches:
        kept.append(sampler(image))
        return kept[0]

    def plain(image: Tensor) -> Patches:
        """CC2D's patch at the same place, with fixed factors."""
        crop = kept[0]
        corner = (crop.targets - crop.points)[:, 0].round().long()
        cut = torch.stack([i[:, y : y + 48, x : x + 48] for i, (x, y) in zip(image, corner.tolist(), strict=True)])
        cut = (cut * 0.9).clamp(0, 1)
        mean = cut.mean(dim=(1, 2, 3), keepdim=True)
        return Patches((mean + (cut - mean) * 1.1).clamp(0, 1), crop.points, crop.targets, crop.valid)

    assert (classify(entropy_map(image, 6), sampler.borders) == 2).all()
    losses = [Cascade().loss(network, network, image, 0, sample) for sample in (informed, plain)]
    torch.testing.assert_close(losses[0], losses[1])
    assert DEFAULT == {"brightness": (0.85, 1.15), "contrast": (0.75, 1.25)}
