from __future__ import annotations

import pytest
import torch

from medzoo.landmark.matching.patches import Jitter, Warp, follow, jitter, read, sample_patches, warp_grid

STILL = Jitter(0.0, 0.0)


def ramp(batch: int, height: int, width: int) -> torch.Tensor:
    """Images whose two channels tell the position (x, y) of each pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).float().expand(batch, 2, -1, -1)


@pytest.mark.parametrize("warp", [Warp(0), Warp(20), Warp(20, (0.8, 1.25), 0.1, 0.02)])
def test_points_of_a_patch_lie_in_the_image_where_the_patch_was_read(warp: Warp) -> None:
    torch.manual_seed(0)
    patches = sample_patches(ramp(6, 96, 80), 48, 20, warp, STILL)
    x, y = patches.points.long().unbind(-1)
    seen = patches.image[torch.arange(6)[:, None], :, y, x]  # (B, P, 2)
    inner = (patches.targets > 1).all(-1) & (patches.targets < torch.tensor([78, 94])).all(-1)
    assert inner.float().mean() > 0.5
    torch.testing.assert_close(seen[inner], patches.targets[inner], atol=2e-3, rtol=0)


def test_validity_is_being_inside_the_image() -> None:
    torch.manual_seed(0)
    patches = sample_patches(ramp(8, 64, 64), 64, 50, Warp(45), STILL)
    inside = ((patches.targets > -0.5) & (patches.targets < 63.5)).all(-1)
    assert torch.equal(patches.valid, inside)
    assert 0 < (~inside).sum() < inside.sum()


def test_the_first_point_keeps_the_margin_and_windows_stay_in_the_image() -> None:
    torch.manual_seed(0)
    patches = sample_patches(ramp(400, 60, 100), 32, 1, Warp(0), STILL, margin=0.1)
    first = patches.targets[:, 0]
    assert first.amin(0).tolist() == [10, 6]
    assert first.amax(0).tolist() == [89, 53]
    corner = first - patches.points[:, 0]
    assert corner.amin() == 0
    assert (corner.amax(0) == torch.tensor([68.0, 28.0])).all()


def test_scale_and_rotation_are_those_asked_for() -> None:
    grid = warp_grid(ramp(500, 64, 64), (32, 32), Warp(30, (0.5, 2.0)), torch.full((500, 2), 31.5))
    step = grid[:, 0, 1] - grid[:, 0, 0]
    scale, angle = 1 / step.norm(dim=-1), torch.atan2(step[:, 1], step[:, 0]) * 180 / torch.pi
    assert 0.5 <= scale.min() < 0.6 < 1.8 < scale.max() <= 2.0001
    assert -30.01 <= angle.min() < -27 < 27 < angle.max() <= 30.01
    torch.testing.assert_close(grid.mean(dim=(1, 2)), torch.full((500, 2), 31.5), atol=1e-3, rtol=0)


def test_reading_through_the_plain_grid_is_cropping() -> None:
    image = torch.rand(1, 1, 20, 24)
    grid = warp_grid(image, (8, 10), Warp(0), torch.tensor([[4.5 + 3, 3.5 + 5]]))
    torch.testing.assert_close(read(image, grid), image[:, :, 5:13, 3:13])
    torch.testing.assert_close(follow(grid, torch.tensor([[[2.0, 1.0]]])), torch.tensor([[[5.0, 6.0]]]))


def test_jitter_keeps_the_range_and_differs_between_images() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 1, 16, 16).expand(4, -1, -1, -1)
    out = jitter(image, Jitter(0.3, 0.3, 0.3, 0.1))
    assert out.min() >= 0
    assert out.max() <= 1
    assert all(not torch.equal(out[0], other) for other in out[1:])
    assert torch.equal(jitter(image, STILL), image)


def test_a_patch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at most the image's side 32, got 40"):
        sample_patches(torch.rand(1, 1, 32, 64), 40, 1, Warp(), STILL)
