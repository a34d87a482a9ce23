"""What a picture shows of a changed answer, by the kind of the outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from medzoo.adversarial.attack.change import answer_of, draw_change
from medzoo.core.tasks.anomaly import AnomalyOutputs
from medzoo.core.tasks.classification import ClassificationOutputs
from medzoo.core.tasks.landmark_types import LandmarkOutputs
from medzoo.core.tasks.lesions import LesionOutputs
from medzoo.core.tasks.segmentation import SegmentationOutputs

IMAGE = np.random.default_rng(0).random((12, 16)).astype(np.float32)


def drawn(before: object, after: object, index: int = 1) -> Axes:
    axes: Axes = Figure().subplots()
    draw_change(axes, answer_of(before, index), answer_of(after, index), IMAGE)
    return axes


def test_points_are_arrows_and_those_that_are_not_there_are_left_out() -> None:
    points = torch.tensor([[[0.0, 0.0]] * 3, [[2.0, 3.0], [5.0, 5.0], [torch.nan, torch.nan]]])
    moved = points + torch.tensor([3.0, -4.0])
    empty = torch.zeros(2, 3, 4, 4)
    outputs = [LandmarkOutputs(p, torch.ones(2, 3), empty, ("a", "b", "c")) for p in (points, moved)]
    axes = drawn(*outputs)
    arrows = next(item for item in axes.collections if isinstance(item, Quiver))
    np.testing.assert_array_equal(np.stack([arrows.U, arrows.V], 1), [[3, -4], [3, -4]])
    np.testing.assert_array_equal(arrows.XY, [[2, 3], [5, 5]])
    assert "5 px" in axes.get_title()


def test_maps_are_their_signed_difference() -> None:
    before, after = torch.rand(2, 6, 7), torch.rand(2, 6, 7)
    axes = drawn(AnomalyOutputs(torch.ones(2), before), AnomalyOutputs(torch.ones(2), after))
    np.testing.assert_allclose(axes.images[0].get_array(), (after - before)[1].double(), atol=1e-12)
    low, high = axes.images[0].get_clim()
    assert low == -high
    axes = drawn(SegmentationOutputs(torch.zeros(2, 1, 6, 7)), SegmentationOutputs(torch.full((2, 1, 6, 7), 50.0)))
    np.testing.assert_allclose(axes.images[0].get_array(), 0.5)


def test_of_a_volume_the_slice_is_shown_that_changed_most() -> None:
    score = torch.zeros(5, 6, 7)
    changed = score.clone()
    changed[3, 2, 2], changed[1, 0, 0] = -2, 1
    mask = torch.zeros(5, 6, 7, dtype=torch.bool)
    axes = drawn(LesionOutputs(score, mask, 0.5), LesionOutputs(changed, mask, 0.5), 0)
    np.testing.assert_array_equal(axes.images[0].get_array(), changed[3])
    assert "slice 3" in axes.get_title()


@pytest.mark.parametrize("multi_label", [False, True])
def test_classes_are_bars_and_of_many_those_that_changed_most(multi_label: bool) -> None:
    names = tuple(f"c{i}" for i in range(12))
    before, after = torch.zeros(2, 12), torch.zeros(2, 12)
    after[1, 7] = 4
    outputs = [ClassificationOutputs(logits, names, multi_label) for logits in (before, after)]
    axes = drawn(*outputs)
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(labels) == 8
    assert "c7" in labels
    widths = np.array([bar.get_width() for bar in axes.patches])
    row = labels.index("c7")
    expected = [float(o.probabilities[1, 7]) for o in outputs]
    np.testing.assert_allclose(widths[[row, 8 + row]], expected, atol=1e-6)


def test_outputs_that_nobody_registered_have_no_picture() -> None:
    axes = drawn(object(), object())
    assert not axes.images
    assert not axes.collections
    assert "no picture" in axes.get_title()
