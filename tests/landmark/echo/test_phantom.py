"""Drawn clips: their truth against what is drawn, their parts by patient, noise in training labels alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.landmark.echo.data import PlaxPhantoms
from medzoo.landmark.echo.phantom import draw_heart, plax_clip
from medzoo.landmark.echo.scan_line import line_through, motion_image


@pytest.mark.parametrize("seed", range(6))
def test_borders_of_the_motion_image_lie_at_the_true_depths(seed: int) -> None:
    """All four, where amplitude crosses the middle between two tissues: within 0.1 px for any tilt and spacing."""
    drawn = plax_clip((5, seed), (160, 128), 24, noise=False)
    for key, points in zip(drawn.keys, torch.from_numpy(drawn.points), strict=True):
        line = line_through(points[0], points[3], (160, 128))
        column = motion_image(torch.from_numpy(drawn.clip), line, key)[:, 32].double().numpy()
        for depth, middle in zip(line.to_depth(points).tolist(), (0.215, 0.225, 0.225, 0.325), strict=True):
            above = column - middle
            crossings = [
                row + above[row] / (above[row] - above[row + 1])
                for row in range(int(depth) - 2, int(depth) + 4)
                if above[row] * above[row + 1] < 0
            ]
            assert min(abs(crossing - depth) for crossing in crossings) < 0.1


def test_key_frames_are_extrema_away_from_ends_and_middle() -> None:
    for seed in range(20):
        heart = draw_heart(np.random.default_rng(seed), 48)
        course = [heart.contraction(frame) for frame in range(48)]
        first, last = heart.first, heart.first + heart.systole
        assert course[first] == 0
        assert course[last] == pytest.approx(1)
        assert all(min(key, 47 - key) >= 1 and abs(key - 24) > 1 for key in (first, last))


@pytest.mark.parametrize("seed", range(4))
def test_walls_thicken_and_keep_their_area(seed: int) -> None:
    """Ring area about the axis is the same in systole; each inner border moves by the heart's own share."""
    heart = draw_heart(np.random.default_rng(seed), 48)
    d, s = (heart.borders(heart.level, frame) for frame in (heart.first, heart.first + heart.systole))
    for inner, outer in ((1, 0), (2, 3)):
        assert s[outer] ** 2 - s[inner] ** 2 == pytest.approx(d[outer] ** 2 - d[inner] ** 2)
        assert abs(s[outer] - s[inner]) > abs(d[outer] - d[inner])
    assert 1 - s[1:3] / d[1:3] == pytest.approx(heart.moves)


def test_a_seed_draws_the_same_clip_and_another_another_heart() -> None:
    one, same, other = plax_clip((1, 0, 4), frames=24), plax_clip((1, 0, 4), frames=24), plax_clip((1, 1, 4), frames=24)
    assert np.array_equal(one.clip, same.clip)
    assert one.heart != other.heart


def test_speckle_moves_with_the_septum() -> None:
    """Along the wall the texture of neighbouring frames correlates more at the moved border than at the old place."""
    drawn = plax_clip((7, 1), (128, 128), 24)
    first = drawn.keys[0]
    last = drawn.keys[1]
    assert (
        np.corrcoef(drawn.clip[first].ravel(), drawn.clip[first + 1].ravel())[0, 1]
        > (np.corrcoef(drawn.clip[first].ravel(), drawn.clip[last].ravel())[0, 1])
    )


def test_annotator_noise_is_in_training_labels_alone() -> None:
    """About 0.5 mm across the wall and 1 mm along it; labels of the test are the drawn points."""
    data = PlaxPhantoms(n_train=12, n_val=1, n_test=1, frames=24, image_size=32)
    test = data.items.test[0].load()
    assert test.points is not None
    assert np.array_equal(test.points, plax_clip((0, 2, 0), (32, 32), 24).points)
    shifts = []
    for number, item in enumerate(data.items.train):
        clip = item.load()
        assert clip.points is not None
        truth = plax_clip((0, 0, number), (32, 32), 24)
        mm = np.array(truth.spacing)
        across = (truth.points[:, 3] - truth.points[:, 0]) * mm
        across /= np.linalg.norm(across, axis=-1, keepdims=True)
        shift = (clip.points - truth.points) * mm
        over = np.einsum("nki,ni->nk", shift, across)
        shifts.append(np.stack([over, np.sqrt((shift**2).sum(-1) - over**2)]))
    across_mm, along_mm = np.sqrt((np.array(shifts) ** 2).mean(axis=(0, 2, 3)))
    assert across_mm == pytest.approx(0.5, rel=0.3)
    assert along_mm == pytest.approx(1.0, rel=0.3)


def test_parts_share_no_patient() -> None:
    patients = [{item.patient for item in part} for part in PlaxPhantoms(n_train=3, n_val=3, n_test=3).items]
    assert len(set.union(*patients)) == 9
