"""Overlays and grids: what is drawn where, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from medzoo.core.plots import Case, landmark_grid, landmark_overlay, spread
from medzoo.core.plots.figures import ERROR, PREDICTION, TRUTH

IMAGE = np.linspace(0, 1, 60 * 40).reshape(60, 40)
TRUE = np.array([(5.0, 6.0), (20.0, 30.0), (35.0, 50.0)])
FOUND = TRUE + np.array([(3.0, 4.0), (0.0, -2.0), (1.0, 0.0)])


def lines(axes: Axes, color: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in axes.lines if to_hex(line.get_color()).upper() == color]


def marks(axes: Axes, label: str) -> np.ndarray:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(line.get_xydata())


def test_points_and_error_lines_lie_at_the_pixels_given() -> None:
    figure = landmark_overlay(IMAGE, FOUND, TRUE)
    (axes,) = figure.axes
    np.testing.assert_array_equal(marks(axes, "prediction"), FOUND)
    np.testing.assert_array_equal(marks(axes, "truth"), TRUE)
    errors = lines(axes, ERROR)
    assert len(errors) == 3
    np.testing.assert_array_equal(errors[0], [FOUND[0], TRUE[0]])
    assert axes.get_xlim() == (-0.5, 39.5)  # the first pixel's centre is the origin
    assert axes.get_ylim() == (59.5, -0.5)


def test_points_unknown_or_not_found_have_no_error_line() -> None:
    found = FOUND.copy()
    found[1] = np.nan
    (axes,) = landmark_overlay(IMAGE, found, TRUE, visible=[True, True, False]).axes
    np.testing.assert_array_equal(marks(axes, "truth"), TRUE[:2])
    shown = [line for line in lines(axes, ERROR) if np.isfinite(line).all()]
    assert len(shown) == 1
    np.testing.assert_array_equal(shown[0], [FOUND[0], TRUE[0]])


def test_without_truth_only_predictions_are_shown() -> None:
    (axes,) = landmark_overlay(IMAGE, FOUND).axes
    assert len(marks(axes, "truth")) == 0
    assert not lines(axes, ERROR)
    legend = axes.get_legend()
    assert legend is not None
    assert not legend.get_visible()


def test_truth_prediction_and_error_differ_for_colour_blind_readers_too() -> None:
    # Luminance alone must tell them apart from each other or, as markers, their shapes do: circle, cross, line.
    (axes,) = landmark_overlay(IMAGE, FOUND, TRUE).axes
    by_label = {line.get_label(): line for line in axes.lines}
    assert by_label["truth"].get_marker() == "o"
    assert by_label["prediction"].get_marker() == "+"
    assert len({TRUTH, PREDICTION, ERROR}) == 3


def test_a_small_image_is_enlarged_to_be_readable_and_keeps_its_aspect() -> None:
    figure = landmark_overlay(IMAGE, FOUND)
    width, height = figure.get_size_inches() * figure.dpi
    assert height == pytest.approx(512)
    assert width == pytest.approx(512 * 40 / 60)


def test_a_large_image_keeps_its_pixels() -> None:
    figure = landmark_overlay(np.zeros((900, 700)), FOUND)
    np.testing.assert_allclose(figure.get_size_inches() * figure.dpi, (700, 900))


def test_a_title_is_added_above_and_takes_nothing_from_the_image() -> None:
    plain, titled = landmark_overlay(IMAGE, FOUND), landmark_overlay(IMAGE, FOUND, title="id 7")
    assert titled.axes[0].get_title() == "id 7"
    assert titled.get_size_inches()[1] > plain.get_size_inches()[1]
    heights = [figure.axes[0].get_position().height * figure.get_size_inches()[1] for figure in (plain, titled)]
    assert heights[0] == pytest.approx(heights[1])


def test_few_names_are_written_out_and_many_become_numbers() -> None:
    few = landmark_overlay(IMAGE, FOUND, names=("sella", "nasion", "porion")).axes[0]
    assert [text.get_text() for text in few.texts] == ["sella", "nasion", "porion"]
    points = np.random.default_rng(0).uniform(5, 35, (20, 2))
    many = landmark_overlay(IMAGE, points, names=[f"point {k}" for k in range(20)]).axes[0]
    assert [text.get_text() for text in many.texts] == [str(k) for k in range(1, 21)]


def test_a_name_stays_with_the_true_point_where_nothing_was_found() -> None:
    found = FOUND.copy()
    found[0] = np.nan
    texts = landmark_overlay(IMAGE, found, TRUE, names=("a", "b", "c")).axes[0].texts
    assert [text.get_text() for text in texts] == ["a", "b", "c"]
    assert isinstance(texts[0], Annotation)
    assert texts[0].xy == tuple(TRUE[0])


@pytest.mark.parametrize("shape", [(60, 40), (1, 60, 40), (3, 60, 40)])
def test_images_of_one_or_three_channels_are_shown_unchanged(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape)
    shown = np.asarray(landmark_overlay(image, FOUND).axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, np.moveaxis(image, 0, -1) if shape[0] == 3 else image.reshape(60, 40))


def test_values_beyond_one_are_stretched_to_the_range() -> None:
    shown = np.asarray(landmark_overlay(IMAGE * 4000 - 1000, FOUND).axes[0].images[0].get_array())
    assert (shown.min(), shown.max()) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((2, 9, 9)), FOUND), "image has shape"),
        ((IMAGE, FOUND.T), "predictions has shape"),
        ((IMAGE, FOUND, TRUE[:2]), "truth has shape"),
        ((IMAGE, FOUND, TRUE, [True]), "visible has shape"),
        ((IMAGE, FOUND, TRUE, None, ["a"]), "names has 1 entries"),
    ],
)
def test_shapes_that_do_not_fit_are_named(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        landmark_overlay(*arguments)  # type: ignore[arg-type]


def case(shift: float, **more: object) -> Case:
    return Case(IMAGE, TRUE + np.array((0.0, shift)), TRUE, name=f"n{shift:g}", **more)  # type: ignore[arg-type]


def shown_axes(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def test_a_grid_names_the_best_the_median_and_the_worst() -> None:
    axes = shown_axes(landmark_grid([case(s) for s in (3.0, 1.0, 9.0, 5.0, 2.0)], unit="px"))
    titles = [each.get_title() for each in axes]
    assert titles == ["median  n3  3 px", "best  n1  1 px", "worst  n9  9 px", "n5  5 px", "n2  2 px"]
    framed = [each.spines["left"].get_visible() for each in axes]
    assert framed == [True, True, True, False, False]


def test_a_given_error_wins_over_the_distance_in_pixels() -> None:
    titles = [each.get_title() for each in shown_axes(landmark_grid([case(3.0, error=0.42)], unit="mm"))]
    assert titles == ["n3  0.42 mm"]


def test_a_case_without_any_point_found_is_the_worst() -> None:
    lost = Case(IMAGE, TRUE * np.nan, TRUE, name="lost")
    assert lost.score == math.inf
    titles = [each.get_title() for each in shown_axes(landmark_grid([lost, case(1.0), case(2.0)]))]
    assert titles[0] == "worst  lost  nothing found"


def test_a_score_counts_only_visible_points() -> None:
    assert Case(IMAGE, FOUND, TRUE, visible=[True, False, False]).score == pytest.approx(5.0)


def test_a_grid_needs_a_case() -> None:
    with pytest.raises(ValueError, match="at least one"):
        landmark_grid([])


def test_spread_takes_the_extremes_and_even_ranks_between() -> None:
    errors = np.array([5.0, 1.0, np.nan, 4.0, 2.0, 3.0, np.inf])
    assert spread(errors, 3) == [1, 5, 6]
    assert spread(errors, 2) == [1, 6]
    assert spread(errors, 99) == [1, 4, 5, 3, 0, 6]
    assert spread([np.nan], 3) == []
