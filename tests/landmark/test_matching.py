from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medzoo.landmark.matching.search import (
    Contrast,
    cells,
    contrastive_loss,
    cosine_maps,
    find,
    fuse_maps,
    grid_to_input,
    take_templates,
    window_cross_entropy,
)
from medzoo.landmark.networks.decode import argmax

STRIDES = [32, 16, 8, 4, 2]
V2 = Contrast(half_width=11, temperature=10.0, margin=0.07, clamp=False)


def maps(seed: int, batch: int = 2, size: int = 64, channels: int = 6) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(batch, channels, size // s, size // s) for s in STRIDES]


def test_cells_follow_the_pixel_centre_convention() -> None:
    points = torch.tensor([[0.0, 31.0], [31.49, 31.51], [-0.5, 63.0]])
    assert cells(points, 32).tolist() == [[0, 0], [0, 1], [0, 1]]


def test_templates_are_the_vectors_of_the_points_cells() -> None:
    features = maps(0)
    points = torch.tensor([[[5.0, 40.0], [63.0, 0.0]], [[32.0, 31.0], [0.0, 0.0]]])
    for feature, template, s in zip(features, take_templates(features, points, STRIDES), STRIDES, strict=True):
        for b in range(2):
            for p in range(2):
                x, y = (int(v) // s for v in points[b, p])
                assert torch.equal(template[b, p], feature[b, :, y, x])


def test_bilinear_templates_equal_the_cell_at_its_centre_and_the_mean_half_way() -> None:
    feature = torch.randn(1, 3, 4, 4)
    points = torch.tensor([[[5.5, 9.5], [7.5, 9.5]]])  # centre of cell (1, 2) at stride 4, and the border to (2, 2)
    (template,) = take_templates([feature], points, [4], bilinear=True)
    torch.testing.assert_close(template[0, 0], feature[0, :, 2, 1])
    torch.testing.assert_close(template[0, 1], feature[0, :, 2, 1:3].mean(-1))


@pytest.mark.parametrize("count", [1, 3])
def test_cosine_maps_equal_torchs_cosine_of_each_pair(count: int) -> None:
    feature, template = torch.randn(2, 5, 3, 4), torch.randn(2, count, 5)
    expected = torch.nn.functional.cosine_similarity(feature[:, None], template[..., None, None], dim=2)
    torch.testing.assert_close(cosine_maps(feature, template, eps=0.0), expected)


def test_classic_loss_on_twelve_by_twelve_cells_has_its_three_known_values() -> None:
    cell = torch.tensor([[[4, 7]]])
    best, worst = torch.zeros(1, 1, 12, 12), torch.ones(1, 1, 12, 12)
    best[0, 0, 7, 4], worst[0, 0, 7, 4] = 1.0, 0.0
    loss = [window_cross_entropy(m, cell, Contrast(), True).item() for m in (best, torch.zeros_like(best), worst)]
    assert loss == pytest.approx([math.log(1 + 143 / math.e), math.log(144), math.log(1 + 143 * math.e)], abs=1e-5)
    assert loss == pytest.approx([3.98, 4.97, 5.97], abs=0.005)


@pytest.mark.parametrize("corner", [(1, 2), (10, 13), (30, 30)])
def test_window_is_half_open_and_cut_at_the_border(corner: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, y, n = *corner, 6
    similarity = torch.rand(1, 1, 32, 32, requires_grad=True)
    loss = window_cross_entropy(similarity, torch.tensor([[[x, y]]]), Contrast(half_width=n), False)
    rows, columns = slice(max(0, y - n), y + n), slice(max(0, x - n), x + n)
    window = similarity.detach()[0, 0, rows, columns]
    assert loss.item() == pytest.approx((window.exp().sum().log() - similarity[0, 0, y, x]).item(), abs=1e-5)
    loss.backward()
    assert similarity.grad is not None
    reached = torch.zeros(32, 32, dtype=torch.bool)
    reached[rows, columns] = True
    assert torch.equal(similarity.grad[0, 0] != 0, reached)


def test_margin_grows_with_the_distance_up_to_its_limit() -> None:
    similarity = torch.zeros(1, 1, 32, 32)
    loss = window_cross_entropy(similarity, torch.tensor([[[16, 16]]]), V2, False)
    away = [min(0.07 * math.hypot(dx, dy), 0.8) for dx in range(-11, 11) for dy in range(-11, 11)]
    assert loss.item() == pytest.approx(math.log(sum(math.exp(10 * m) for m in away)), abs=1e-4)
    assert max(away) == 0.8


def test_v2_loss_of_perfect_features_is_that_of_the_others_and_their_margins() -> None:
    torch.manual_seed(0)
    similarity = torch.rand(1, 1, 32, 32) * 1.6 - 0.8
    similarity[0, 0, 16, 14] = 1.0
    loss = window_cross_entropy(similarity, torch.tensor([[[14, 16]]]), V2, False)
    total = 0.0
    for dy in range(-11, 11):
        for dx in range(-11, 11):
            c = similarity[0, 0, 16 + dy, 14 + dx].item()
            total += math.exp(10 * (c - 1 + min(0.07 * math.hypot(dx, dy), 0.8)))
    assert loss.item() == pytest.approx(math.log(total), abs=1e-4)


def test_clamped_cosines_below_zero_get_no_gradient() -> None:
    similarity = torch.full((1, 1, 4, 4), -0.5, requires_grad=True)
    window_cross_entropy(similarity, torch.tensor([[[1, 1]]]), Contrast(), True).backward()
    assert similarity.grad is not None
    assert similarity.grad.abs().max() == 0
    free = torch.full((1, 1, 4, 4), -0.5, requires_grad=True)
    window_cross_entropy(free, torch.tensor([[[1, 1]]]), Contrast(clamp=False), True).backward()
    assert free.grad is not None
    assert free.grad.abs().min() > 0


def test_many_points_cost_the_mean_of_each_alone_and_invalid_ones_nothing() -> None:
    features, other = maps(0), maps(1)
    points = torch.rand(2, 3, 2) * 63
    templates = take_templates(other, points, STRIDES)
    valid = torch.tensor([[True, True, False], [True, False, True]])
    together = sum(contrastive_loss(features, templates, points, STRIDES, V2, valid))
    alone = [
        sum(contrastive_loss([f[b : b + 1] for f in features], [t[b : b + 1, p : p + 1] for t in templates],
                             points[b : b + 1, p : p + 1], STRIDES, V2))
        for b in range(2) for p in range(3) if valid[b, p]
    ]  # fmt: skip
    torch.testing.assert_close(together, sum(alone) / len(alone))


def test_only_the_coarsest_map_is_compared_as_a_whole() -> None:
    features = [f.requires_grad_() for f in maps(0, 1, 256)]
    points = torch.tensor([[[100.0, 120.0]]])
    templates = [t.detach() for t in take_templates(maps(1, 1, 256), points, STRIDES)]
    sum(contrastive_loss(features, templates, points, STRIDES, Contrast(clamp=False))).backward()  # type: ignore[union-attr]
    for i, (feature, s) in enumerate(zip(features, STRIDES, strict=True)):
        assert feature.grad is not None
        reached = (feature.grad[0].abs().sum(0) > 0).sum().item()
        assert reached == (256 // s) ** 2 if i == 0 else reached <= 144


@pytest.mark.parametrize("fuse", ["product", "softmax_product"])
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_an_image_finds_its_own_landmarks_whatever_the_scale_of_a_map(fuse: str, scale: float) -> None:
    features = maps(3, 1)
    features[2] = features[2] * scale
    points = torch.tensor([[[3.0, 60.0], [33.0, 20.0], [50.0, 51.0]]])
    templates = take_templates(features, points, STRIDES)
    fused = fuse_maps(features, templates, fuse=fuse, eps=1e-8)  # type: ignore[arg-type]
    found, _ = argmax(fused)
    assert torch.equal(found.long(), cells(points, 2))


@pytest.mark.parametrize("channels", [16, 64])
def test_with_interpolated_levels_an_image_finds_its_own_landmarks_within_two_pixels(channels: int) -> None:
    features = maps(2, 1, 128, channels)
    points = torch.rand(1, 30, 2) * 127
    templates = take_templates(features, points, STRIDES, bilinear=True)
    found = find(features, templates, STRIDES, upsampling="bilinear").points
    assert (found - points).abs().max() <= 2


def test_the_product_of_levels_is_what_a_loop_over_pixels_gives() -> None:
    features = maps(4, 1)
    templates = take_templates(maps(5, 1), torch.tensor([[[10.0, 20.0]]]), STRIDES)
    fused = fuse_maps(features, templates, eps=1e-3)[0, 0]
    for x, y in [(0, 0), (7, 30), (31, 31), (16, 15)]:
        expected = 1.0
        for feature, template, s in zip(features, templates, STRIDES, strict=True):
            f, t = feature[0, :, y * 2 // s, x * 2 // s], template[0, 0]
            expected *= min(max(float(f @ t / (f.norm() * t.norm() + 1e-3)), 0.0), 1.0)
        assert fused[y, x].item() == pytest.approx(expected, abs=1e-6)


def test_cells_map_to_their_centres_and_on_request_to_their_first_pixel() -> None:
    assert grid_to_input(torch.tensor([3.0]), 2).item() == 6.5
    assert grid_to_input(torch.tensor([3.0]), 2, corrected=False).item() == 6.0
