"""Weak contours against the drawn borders, the line that a contour leads to, and what the random changes keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medzoo.landmark.echo.measures import line_errors
from medzoo.landmark.echo.phantom import PlaxPhantom, plax_clip
from medzoo.landmark.networks.targets import gaussian
from medzoo.landmark.wiselvam.contour import crossings, directions, placed, weak_contours
from medzoo.landmark.wiselvam.frames import jittered, moved
from medzoo.landmark.wiselvam.losses import heat_loss, smoothness
from medzoo.landmark.wiselvam.network import ContourNet, in_order

DRAWN = [plax_clip((9, number), frames=24) for number in range(12)]


def inputs(drawn: PlaxPhantom) -> tuple[Tensor, Tensor, Tensor]:
    """Key frames, exact points and spacing."""
    frames = torch.from_numpy(drawn.clip[list(drawn.keys)])[:, None]
    return frames, torch.from_numpy(drawn.points), torch.tensor(drawn.spacing).double().expand(2, 2)


def test_weak_contours_follow_the_drawn_borders() -> None:
    """Within 1 mm of the inner borders in the mean, 18 mm to either side, though only four points are annotated."""
    errors = []
    for drawn in DRAWN:
        frames, points, spacing = inputs(drawn)
        found = (weak_contours(frames, points, spacing, 18.0, 7) * spacing[:, None, None]).numpy()
        heart = drawn.heart
        for arcs, key, own in zip(found, drawn.keys, (points * spacing[:, None]).numpy(), strict=True):
            _, along, across = heart.pose(key)
            on_level = heart.borders(heart.level, key)
            annulus = own[1] - on_level[1] * across - heart.level * along
            s, u = (arcs - annulus) @ along, (arcs - annulus) @ across
            true = np.stack([heart.borders(s[0], key)[1], heart.borders(s[1], key)[2]])
            errors.append(np.abs(u - true))
    mean = np.mean(errors, axis=0)
    assert mean[:, 3] == pytest.approx(0, abs=1e-6)  # through the annotated points
    assert mean.max() < 1.5
    assert mean.mean() < 1.0


def test_the_contour_leads_to_a_better_line_than_the_points_of_an_annotator() -> None:
    """Points that deviate by 1 mm along the walls and 0.5 mm across: the axis of the weak contour mends the angle."""
    rng = np.random.default_rng(0)
    by_points, by_contour = [], []
    for drawn in DRAWN:
        frames, exact, spacing = inputs(drawn)
        along, across = directions(exact * spacing[:, None])
        off = torch.from_numpy(rng.normal(size=(2, 4, 2))) * torch.tensor([1.0, 0.5])
        mm = off[..., :1] * along[:, None] + off[..., 1:] * across[:, None]
        points = exact + mm / spacing[:, None]
        contour = weak_contours(frames, points, spacing, 18.0, 7)
        by_contour.append(line_errors(placed(points, contour, spacing), exact, spacing[0])["angle_deg"])
        by_points.append(line_errors(points[:, [0, 3]], exact, spacing[0])["angle_deg"])
    assert float(torch.cat(by_contour).median()) < 0.7 * float(torch.cat(by_points).median())


@pytest.mark.parametrize("tilt", [-40.0, 0.0, 25.0])
def test_an_ellipse_gets_the_line_across_its_axis(tilt: float) -> None:
    """The exact contour of half an ellipse: the drawn angle and level, whatever shape the pixels have."""
    angle = torch.deg2rad(torch.tensor(tilt, dtype=torch.float64))
    along, across = torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])
    s = torch.linspace(-18, 18, 7, dtype=torch.float64)
    radius = 22 * (1 - ((s + 20) / 80) ** 2).sqrt()
    arcs = torch.stack([s[:, None] * along + sign * radius[:, None] * across for sign in (-1, 1)])
    spacing = torch.tensor([[0.3, 0.4]], dtype=torch.float64)
    points = torch.stack([level * across for level in (-32.0, -21.3, 21.3, 30.0)])
    line = placed(points[None] / spacing, arcs[None] / spacing, spacing)
    found = line_errors(line, points[None] / spacing, spacing[0])
    assert float(found["angle_deg"]) < 1e-6
    assert float(found["level_mm"]) < 1e-6
    assert abs(float((line[0, 1] - line[0, 0]) * spacing[0] @ along)) < 1e-9


def test_a_line_crosses_straight_walls_where_it_must() -> None:
    """The four borders of a tube: a line turned by 10° and shifted by 3 mm crosses it at the tube's own depths."""
    spacing = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    points = torch.tensor([[[30.0, 20.0], [30.0, 30.0], [30.0, 70.0], [30.0, 80.0]]], dtype=torch.float64) / spacing
    turn = torch.deg2rad(torch.tensor(10.0, dtype=torch.float64))
    start = torch.tensor([33.0, 50.0], dtype=torch.float64)
    line = torch.stack([start, start + torch.stack([turn.sin(), turn.cos()])])[None] / spacing
    found = crossings(points, line, spacing) * spacing
    assert torch.allclose(found[0, :, 1], torch.tensor([20.0, 30.0, 70.0, 80.0], dtype=torch.float64))
    assert torch.allclose(found[0, :, 0] - 33, (found[0, :, 1] - 50) * turn.tan())


def test_moved_key_frames_keep_their_points_on_what_they_mark() -> None:
    """Weak contours of the moved frame with its moved points are the moved contours, mirrored ones too."""
    torch.manual_seed(0)
    for drawn in DRAWN[:4]:
        frames, points, spacing = inputs(drawn)
        weak = weak_contours(frames, points, spacing, 14.0, 5)
        drawn_frames, moved_points, moved_weak = moved(frames, points, weak, spacing)
        again = weak_contours(drawn_frames, moved_points, spacing, 14.0, 5)
        scale = (moved_points[:, 3] - moved_points[:, 0]).norm(dim=1) / (points[:, 3] - points[:, 0]).norm(dim=1)
        assert bool(((scale > 0.7) & (scale < 1.4)).all())
        off = ((again - moved_weak) * spacing[:, None, None]).norm(dim=-1)
        assert float(off.median()) < 3.0  # its arcs are a little longer or shorter than before
        assert bool((moved_weak[:, 0, -1, 0] > moved_weak[:, 0, 0, 0]).all())  # from left to right


def test_jitter_has_the_spread_that_is_asked_for() -> None:
    torch.manual_seed(0)
    points = torch.from_numpy(DRAWN[0].points[:1]).expand(2000, 4, 2)
    spacing = torch.tensor(DRAWN[0].spacing, dtype=torch.float64).expand(2000, 2)
    off = line_errors(jittered(points, spacing, 3.0, 2.0), points, spacing[0])
    assert float(off["angle_deg"].square().mean().sqrt()) == pytest.approx(3.0, rel=0.1)
    assert float(off["level_mm"].square().mean().sqrt()) == pytest.approx(2.0, rel=0.1)
    none = line_errors(jittered(points[:1], spacing[:1], 0.0, 0.0), points[:1], spacing[0])
    assert float(none["angle_deg"]) < 0.5  # the best fit of the points, which lie on a line up to rounding


def test_a_missing_point_leaves_a_frame_out() -> None:
    frames, points, spacing = inputs(DRAWN[0])
    points = points.clone()
    points[0, 2] = torch.nan
    weak = weak_contours(frames, points, spacing, 18.0, 7)
    assert bool(weak[0].isnan().all())
    assert bool(weak[1].isfinite().all())


def test_the_heat_loss_is_least_at_the_places_and_passes_unknown_ones_over() -> None:
    """Logits that are the Gaussian's own have its entropy; a place that is NaN or outside does not count."""
    places = torch.tensor([[[8.0, 5.0], [torch.nan, 3.0], [40.0, 3.0]]])
    ys, xs = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
    own = (-((xs - 8) ** 2 + (ys - 5) ** 2) / 8).expand(1, 3, 16, 20)
    share = own[0, 0].flatten().softmax(0)
    least = float(heat_loss(own, places, 2.0))
    assert least == pytest.approx(-float((share * share.log()).sum()), rel=1e-5)
    assert float(heat_loss(own.roll(3, dims=2), places, 2.0)) > least + 1
    logits = torch.zeros(1, 3, 16, 20, requires_grad=True)
    nothing = heat_loss(logits, torch.full_like(places, torch.nan), 2.0)
    nothing.backward()
    assert float(nothing.detach()) == 0


def test_the_maps_of_the_network_have_the_order_of_their_places() -> None:
    """What is read from maps that peak at places is these places."""
    network = ContourNet(places=5)
    generator = torch.Generator().manual_seed(0)
    points = 5 + 20 * torch.rand(2, 4, 2, generator=generator)
    contours = 5 + 20 * torch.rand(2, 2, 5, 2, generator=generator)
    contours[:, :, 2] = points[:, 1:3]
    logits = gaussian(in_order(points, contours), (32, 32), 1.0).log().clamp(min=-80)
    read_points, read_contours = network.read(logits)
    assert torch.allclose(read_points, points, atol=0.01)
    assert torch.allclose(read_contours, contours, atol=0.01)


def test_smoothness_of_straight_arcs_is_nothing() -> None:
    straight = torch.stack(torch.meshgrid(torch.arange(2.0), torch.arange(5.0), indexing="ij"), dim=-1)[None]
    assert float(smoothness(straight)) == 0
    bent = straight.clone()
    bent[0, 0, 2, 0] += 1  # differences 1, −2, 1 in one arc of two
    assert float(smoothness(bent)) == pytest.approx((1 + 4 + 1) / 6)


def test_what_is_read_both_ways_does_not_depend_on_the_side_that_the_heart_lies_on() -> None:
    torch.manual_seed(0)
    net = ContourNet(places=5, widths=(4, 8)).eval().double()
    image = torch.rand(2, 1, 24, 32, dtype=torch.double)
    points, arcs = net.read_both_ways(image)
    others, flipped = net.read_both_ways(image.flip(-1))
    mirror = points.new_tensor([31, 0]), points.new_tensor([-1, 1])
    torch.testing.assert_close(others, mirror[0] + mirror[1] * points, atol=1e-4, rtol=0)
    torch.testing.assert_close(flipped, mirror[0] + mirror[1] * arcs.flip(2), atol=1e-4, rtol=0)
    one, _ = net.read(net(image))
    assert not torch.allclose(one, points)
