"""The scan line and its motion image, against drawn clips whose borders are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medzoo.landmark.echo.scan_line import ScanLine, fitted_line, lengths_mm, line_through, motion_image, window

SIZE = (96, 120)


def moving_edge(angle: float, frames: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """A clip whose brightness is a ramp about an edge that moves along a direction; its direction and places."""
    normal = torch.tensor([math.sin(angle), math.cos(angle)], dtype=torch.float64)
    places = 5 * torch.sin(torch.arange(frames) * 2 * math.pi / frames)
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    depth = (x - 60) * normal[0] + (y - 48) * normal[1]
    return (0.5 + (depth[None] - places[:, None, None]) / 200).float(), normal, places


@pytest.mark.parametrize("angle", [0.0, 0.4, -0.4, math.pi / 2])
def test_a_border_stands_in_its_column_at_its_depth(angle: float) -> None:
    """Within 0.1 px for any direction; the window wraps round the clip's ends."""
    clip, normal, places = moving_edge(angle)
    centre = torch.tensor([60.0, 48.0], dtype=torch.float64)
    line = line_through(centre, centre + normal, SIZE)
    image = motion_image(clip, line, key=3, columns=32)
    assert image.shape == (120, 32)
    row = (image - 0.5).abs().argmin(dim=0)
    at = (0.5 - image[row, torch.arange(32)]) * 200  # px along the normal from that sample to the edge
    sign = 1.0 if float(line.step @ normal) > 0 else -1.0
    found = line.to_frame(row + sign * at / line.step.norm())
    depth = (found - centre) @ normal
    assert (depth - places[window(20, 3, 32)]).abs().max() < 0.1


@pytest.mark.parametrize("key", [0, 7, 19])
def test_the_key_frame_stands_once_in_the_middle(key: int) -> None:
    """Of a clip longer than the window, in order, wrapping."""
    frames = window(40, key, 16)
    assert frames[8] == key
    assert (frames == key).sum() == 1
    assert ((frames.diff() % 40) == 1).all()


def test_there_and_back_is_exact_and_collinear() -> None:
    """A point of the line keeps its place to 1e-4 px, and depths come back on one line."""
    line = line_through(torch.tensor([30.0, 80.0]), torch.tensor([70.0, 11.0]), SIZE)
    points = line.start + torch.rand(50, 1, generator=torch.Generator().manual_seed(0)) * (line.end - line.start)
    back = line.to_frame(line.to_depth(points))
    assert (back - points).abs().max() < 1e-4
    across = torch.stack([-line.step[1], line.step[0]]) / line.step.norm()
    assert ((back - line.start) @ across).abs().max() < 1e-9


def test_a_line_runs_from_border_to_border_upper_end_first() -> None:
    """Whichever point is given first; upright, level and slanting."""
    for a, b in (((10.0, 5.0), (10.0, 50.0)), ((4.0, 20.0), (90.0, 20.0)), ((20.0, 80.0), (70.0, 11.0))):
        one, two = (line_through(torch.tensor(p), torch.tensor(q), SIZE) for p, q in ((a, b), (b, a)))
        assert torch.allclose(one.start, two.start)
        assert torch.allclose(one.end, two.end)
        assert one.start[1] <= one.end[1]
        for end in (one.start, one.end):
            assert min(end[0], end[1], 119 - end[0], 95 - end[1]).abs() < 1e-9


def test_a_fit_finds_upright_lines_too() -> None:
    """Least squares of y on x has none; noise across the line averages out."""
    points = torch.tensor([[40.0, 10.0], [40.2, 30.0], [39.8, 50.0], [40.0, 70.0]])
    line = fitted_line(points, SIZE)
    assert (line.start[0] - line.end[0]).abs() < 1


def test_a_tilted_line_measures_a_tube_longer_by_its_cosine() -> None:
    """Two level borders 40 px apart with pixels of 0.3 × 0.2 mm: 8 mm upright, 8 mm / cos of the tilt in mm."""
    spacing = torch.tensor([0.3, 0.2], dtype=torch.float64)
    for tilt in (0.0, math.radians(5), math.radians(-20)):
        shift = 8 * math.tan(tilt) / 0.3
        points = torch.tensor([[60.0, 20.0], [60.0 + shift, 60.0]], dtype=torch.float64)
        assert abs(float(lengths_mm(points, spacing)) - 8 / math.cos(tilt)) < 1e-9


def test_the_image_differentiates_to_clip_and_line() -> None:
    """With finite gradients, of the clip on the sampled frames alone."""
    clip = torch.rand(30, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ends = torch.tensor([[3.2, 0.0], [9.7, 15.0]], dtype=torch.float64, requires_grad=True)
    motion_image(clip, ScanLine(ends[0], ends[1], 16), 4, 8).sum().backward()
    assert ends.grad is not None
    assert ends.grad.isfinite().all()
    assert ends.grad.abs().min() > 0
    assert clip.grad is not None
    assert clip.grad.isfinite().all()
    assert set(clip.grad.abs().sum(dim=(1, 2)).nonzero().flatten().tolist()) == set(range(8))


def test_what_is_no_line_or_frame_is_refused() -> None:
    """One point twice, a line beside the frame, a key frame that the clip has not."""
    point = torch.tensor([3.0, 3.0])
    with pytest.raises(ValueError, match="two different points"):
        line_through(point, point, SIZE)
    with pytest.raises(ValueError, match="misses"):
        line_through(torch.tensor([-5.0, 0.0]), torch.tensor([-5.0, 9.0]), SIZE)
    with pytest.raises(ValueError, match="key frame from 0 to 0"):
        window(1, 1)
