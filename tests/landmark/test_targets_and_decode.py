from __future__ import annotations

import math
from typing import get_args

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from scipy import ndimage
from scipy.optimize import minimize

from medzoo.core.cli import main
from medzoo.landmark.networks import decode
from medzoo.landmark.networks.targets import alpha_power, gaussian

INNER = st.tuples(st.floats(14, 49), st.floats(14, 49))


def points(*xy: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([xy])


def test_alpha_power_target_has_the_values_of_the_paper() -> None:
    target = alpha_power(points((60.0, 50.0)), (120, 120), 10.0)[0, 0]
    assert target[50, 60].item() == pytest.approx(10.0)
    assert target[50, 70].item() == pytest.approx(4.04, abs=0.005)
    assert target[50, 88] == 0
    assert target[50, 87] > 1.05
    assert not ((target > 0) & (target <= 1.05)).any()
    assert target.argmax() == 50 * 120 + 60


def test_gaussian_peaks_at_one_and_is_empty_for_a_missing_point() -> None:
    target = gaussian(points((8.0, 4.0), (math.nan, 3.0)), (16, 20), 2.0)[0]
    assert target[0, 4, 8] == 1
    assert target[0, 4, 10].item() == pytest.approx(math.exp(-0.5))
    assert target[0, 6, 8].item() == pytest.approx(math.exp(-0.5))
    assert target[1].abs().max() == 0
    assert alpha_power(points((math.nan, 3.0)), (16, 20), 2.0).abs().max() == 0


@settings(max_examples=30, deadline=None)
@given(INNER)
@pytest.mark.parametrize(("name", "tolerance"), [("argmax", 0.5), ("quarter", 0.35), ("parabola", 0.1), ("dark", 0.05)])
def test_decoders_find_the_centre_of_a_gaussian(name: str, tolerance: float, xy: tuple[float, float]) -> None:
    found, score = decode.DECODERS[name](gaussian(points(xy), (64, 64), 2.0))
    assert (found[0, 0] - torch.tensor(xy)).abs().max() <= tolerance + 1e-3
    assert 0.9 < score[0, 0] <= 1


@settings(max_examples=30, deadline=None)
@given(INNER)
def test_soft_argmax_is_exact_on_a_symmetric_peak(xy: tuple[float, float]) -> None:
    heat = gaussian(points(xy), (64, 64), 3.0)
    for radius in (None, 6):
        found, _ = decode.soft_argmax(heat, beta=20.0, radius=radius)
        assert (found[0, 0] - torch.tensor(xy)).abs().max() < (0.3 if radius is None else 0.15)


@settings(max_examples=30, deadline=None)
@given(INNER)
def test_the_local_mean_is_exact_on_a_peak_that_was_enlarged_from_a_coarse_grid(xy: tuple[float, float]) -> None:
    coarse = gaussian((torch.tensor([[xy]]) + 0.5) / 4 - 0.5, (16, 16), 1.0)
    heat = F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
    found, score = decode.local_mean(heat, radius=13)
    assert (found[0, 0] - torch.tensor(xy)).abs().max() < 0.3
    assert score[0, 0] == heat.max()
    nodes, _ = decode.parabola(heat)
    assert (nodes[0, 0] - torch.tensor(xy)).abs().max() <= 2.5


def test_the_local_mean_leaves_out_what_is_far_from_the_maximum() -> None:
    heat = torch.zeros(1, 2, 32, 32)
    heat[0, 0, 10, 8:11] = torch.tensor([0.5, 1.0, 0.5])
    heat[0, 0, 25, 25] = 0.9
    found, _ = decode.local_mean(heat, radius=5)
    assert found[0].tolist() == [[9, 10], [0, 0]]


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_the_median_has_the_least_expected_distance(share: float) -> None:
    left, right = gaussian(points((10, 20)), (40, 40), 2.0), gaussian(points((30.2, 9.7)), (40, 40), 2.0)
    heat = (1 - share) * left + share * right + 0.5 * gaussian(points((33.0, 33.0)), (40, 40), 2.0)
    found, score = decode.median(heat)
    y, x = np.mgrid[:40, :40]
    weights = heat[0, 0].numpy()
    best = minimize(lambda p: (weights * np.hypot(x - p[0], y - p[1])).sum(), (20.0, 20.0), method="Nelder-Mead")
    np.testing.assert_allclose(found[0, 0].numpy(), best.x, atol=0.1)
    assert score[0, 0] == heat.max()


def test_the_median_of_a_peak_is_its_centre_whatever_a_few_far_pixels_have() -> None:
    heat = gaussian(points((20.3, 11.6)), (64, 64), 2.0)
    heat[..., 60:, 60:] += 0.02
    torch.testing.assert_close(decode.median(heat)[0][0, 0], torch.tensor([20.3, 11.6]), atol=0.15, rtol=0)
    assert decode.median(torch.zeros(1, 1, 4, 4))[0].tolist() == [[[0, 0]]]


def test_component_mean_is_sub_pixel_on_a_saturated_disc() -> None:
    torch.manual_seed(0)
    centres = 40 + 16 * torch.rand(1, 100, 2)
    centres[0, 0] = torch.tensor([48.5, 47.0])  # on a centre of symmetry of the grid the result is exact
    found, _ = decode.component_mean((alpha_power(centres, (96, 96), 10.0) > 0).float())
    error = (found - centres).norm(dim=-1)[0]
    assert error[0] < 1e-4
    assert error.mean() < 0.05
    assert error.max() < 0.15


def test_component_mean_prefers_the_larger_component_to_the_brighter() -> None:
    heat = torch.zeros(1, 1, 96, 96)
    heat[0, 0, 10:30, 40:60] = 0.9
    heat[0, 0, 60:65, 70:80] = 1.0
    found, score = decode.component_mean(heat)
    assert found[0, 0].tolist() == [49.5, 19.5]
    assert score.item() == 1


def test_component_mean_falls_back_to_the_top_of_a_dim_wide_component() -> None:
    heat = torch.zeros(1, 1, 64, 64)
    heat[0, 0, 10:30, 10:30] = 0.5
    heat[0, 0, 50, 50] = 1.0
    assert decode.component_mean(heat)[0][0, 0].tolist() == [19.5, 19.5]


def test_component_mean_joins_diagonals_but_never_two_maps() -> None:
    heat = torch.zeros(1, 2, 16, 16)
    heat[0, 0, 2, 2] = heat[0, 0, 3, 3] = 1.0
    heat[0, 0, 9, 9] = 1.0
    heat[0, 1, 9, 9] = 1.0
    assert decode.component_mean(heat)[0][0].tolist() == [[2.5, 2.5], [9, 9]]


def test_component_mean_takes_the_threshold_from_the_kept_component_alone() -> None:
    heat = torch.zeros(1, 1, 64, 64)
    heat[0, 0, 10:30, 10:30] = 0.80  # below 0.88 of its own maximum
    heat[0, 0, 12:16, 20:24] = 0.92  # above 0.88 of it and of the map's
    heat[0, 0, 20:22, 12:14] = 0.83  # above 0.88 of it, not of the map's
    heat[0, 0, 50, 50] = 1.0
    values = torch.full_like(heat, 0.0)
    values[0, 0, 10:30, 10:30] = (heat[0, 0, 10:30, 10:30] > 0.88 * 0.92).float()
    y, x = values[0, 0].nonzero().float().mean(dim=0).tolist()
    assert values.sum() == 20
    assert decode.component_mean(heat)[0][0, 0].tolist() == pytest.approx([x, y])


def test_component_mean_of_a_negative_map_is_of_the_pixels_near_its_maximum() -> None:
    heat = torch.full((1, 1, 16, 16), -3.0)
    heat[0, 0, 2:6, 8:12] = -1.0
    heat[0, 0, 6, 8:12] = -1.2  # kept, and the highest once negated
    assert decode.component_mean(heat)[0][0, 0].tolist() == [9.5, 6]


def test_component_mean_of_a_map_without_any_heat_is_its_first_pixel() -> None:
    heat = torch.zeros(1, 2, 8, 8)
    heat[0, 1] = -1.0
    heat[0, 1, 3, 4] = 0.0
    assert decode.component_mean(heat)[0][0].tolist() == [[0, 0], [4, 3]]


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_component_mean_equals_a_plain_loop_on_random_maps(offset: float) -> None:
    rng = np.random.default_rng(0)
    maps = ndimage.gaussian_filter(rng.random((3, 4, 32, 32)), (0, 0, 2, 2))
    maps -= maps.mean() + offset
    found, _ = decode.component_mean(torch.from_numpy(maps))
    for b in range(3):
        for k in range(4):
            heat, most = maps[b, k], maps[b, k].max()
            heat = np.where(heat >= 0.25 * most, heat, 0) if most > 0 else -np.where(heat >= 1.25 * most, heat, 0)
            labels, _ = ndimage.label(heat, np.ones((3, 3)))
            largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
            y, x = np.nonzero(largest & (heat > 0.88 * heat[largest].max()))
            assert found[b, k].tolist() == pytest.approx([x.mean(), y.mean()], abs=1e-4)


@pytest.mark.parametrize("radius", [7, 23])  # in float32 7 / 23 times 23 is less than 7
def test_votes_of_perfect_maps_meet_at_the_landmark_wherever_it_lies(radius: int) -> None:
    height, width = 22, 26
    grid = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), dim=-1)
    points = grid.reshape(1, -1, 1, 1, 2)  # a map for each pixel as the landmark, borders and corners too
    x, y = ((points - grid) / radius).unbind(-1)
    heat = (torch.hypot(x, y) * radius < radius - 1e-4).float()
    found, share = decode.vote(heat, x, y, radius)
    assert torch.equal(found, points[:, :, 0, 0].float())
    voters = min(int(3.14 * radius**2), height * width)
    assert (share * voters >= heat.sum(dim=(2, 3)) - 1e-3).all()


def test_ties_go_to_the_first_pixel_and_border_maxima_are_not_moved() -> None:
    heat = torch.zeros(1, 1, 8, 8)
    assert decode.argmax(heat)[0][0, 0].tolist() == [0, 0]
    heat[0, 0, 0, 7] = 1.0
    for name in ("argmax", "quarter", "parabola", "dark"):
        assert decode.DECODERS[name](heat)[0][0, 0].tolist() == [7, 0]


def test_decoders_are_chosen_by_name_and_another_name_costs_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(get_args(decode.DecoderName)) == set(decode.DECODERS)
    assert main(["fit", "--model", "gu2net", "--model.decoder", "medain"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("medzoo: error: --model.decoder: expected one of argmax, quarter,")
    assert line.endswith("got medain; did you mean median?")
