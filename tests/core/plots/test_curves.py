"""Distributions and training curves: the numbers behind the lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from medzoo.core.errors import DataError
from medzoo.core.io import write_csv
from medzoo.core.plots import error_cdf, per_landmark_bars, score_reliability, training_curves


def share_at(axes: Axes, line: int, error: float) -> float:
    x, y = axes.lines[line].get_data()
    return float(np.asarray(y)[np.searchsorted(np.asarray(x), error, side="right") - 1])


def widths(axes: Axes) -> list[float]:
    return [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]


def domain_lines(axes: Axes) -> list[int]:
    return [k for k, line in enumerate(axes.lines) if not str(line.get_label()).startswith("_")]


def test_the_curve_is_the_share_of_points_within_each_error() -> None:
    errors = np.random.default_rng(0).gamma(2, 1, (30, 6))
    (axes,) = error_cdf({"head": errors}, "mm", (2, 4)).axes
    (line,) = domain_lines(axes)
    for radius in (0.5, 2.0, 4.0):
        assert share_at(axes, line, radius) == pytest.approx((errors <= radius).mean())


def test_points_not_found_count_as_failures_and_points_not_annotated_do_not_count() -> None:
    (axes,) = error_cdf({"hand": [1.0, 1.0, np.inf, np.inf, np.nan, np.nan]}, "mm").axes
    (line,) = domain_lines(axes)
    assert share_at(axes, line, 1.0) == 0.5
    assert share_at(axes, line, 1e9) == 0.5
    assert "n = 4" in str(axes.lines[line].get_label())


def test_axes_say_unit_thresholds_and_domains() -> None:
    (axes,) = error_cdf({"head": [1.0, 2.0], "chest": [3.0, 9.0]}, "px", (2, 2.5)).axes
    assert axes.get_xlabel() == "radial error (px)"
    assert axes.get_ylim() == (0, 1)
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] >= 2.5
    assert {text.get_text() for text in axes.texts} == {"2", "2.5"}
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["head", "chest"]
    first, second = (axes.lines[k] for k in domain_lines(axes))
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()


def test_one_far_outlier_does_not_squeeze_the_curve() -> None:
    errors = np.append(np.linspace(0, 5, 999), 4000.0)
    (axes,) = error_cdf({"head": errors}, "mm", (4,)).axes
    assert axes.get_xlim()[1] < 10


def test_domains_without_points_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'foot'"):
        error_cdf({"head": [1.0], "foot": [np.nan]}, "mm")
    with pytest.raises(ValueError, match="at least one domain"):
        error_cdf({}, "mm")


def test_bars_are_means_and_lines_quartiles_of_the_points_found() -> None:
    errors = np.array([[1.0, 2.0], [3.0, np.inf], [5.0, 4.0], [7.0, np.nan]])
    figure = per_landmark_bars(errors, ("sella", "nasion"), "mm")
    (axes,) = figure.axes
    assert widths(axes) == [4.0, 3.0]
    (segments,) = [c.get_segments() for c in axes.collections if isinstance(c, LineCollection)]
    np.testing.assert_allclose(segments[0][:, 0], (2.5, 5.5))
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["sella", "nasion (1 not found)"]
    assert axes.get_xlabel() == "radial error (mm)"
    top, bottom = axes.get_ylim()
    assert top > bottom  # the first landmark stands on top


def test_a_landmark_never_found_has_no_bar_but_its_name() -> None:
    errors = np.array([[1.0, np.inf], [2.0, np.inf]])
    (axes,) = per_landmark_bars(errors, ("a", "b"), "px").axes
    assert np.isnan(widths(axes)[1])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b (2 not found)"]


def test_bars_need_a_name_for_each_column() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 1\)"):
        per_landmark_bars(np.zeros((3, 2)), ("a",), "mm")


TABLE = "epoch,train/loss,val/loss,val/head/mre_mm\n0,1.5,,\n1,1.0,1.2,9.5\n2,0.5,nan,8.0\n"


def test_quantities_of_one_name_share_a_panel_and_epochs_count_from_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(TABLE)
    axes = training_curves(path).axes
    assert [each.get_title() for each in axes] == ["loss", "mre_mm"]
    train, val = axes[0].lines
    assert (train.get_label(), val.get_label()) == ("train", "val")
    np.testing.assert_array_equal(train.get_xydata(), [(1, 1.5), (2, 1.0), (3, 0.5)])
    np.testing.assert_array_equal(val.get_xydata(), [(2, 1.2)])
    assert axes[1].lines[0].get_label() == "val head"


def test_names_that_the_writer_escaped_are_shown_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = [{"epoch": 0, "=1+1": 1.0, "@a/x": 2.0, "'x": 3.0, "a$_$b/cost $": -4.0}]
    write_csv(path, rows)
    assert "'=1+1" in path.read_text()
    figure = training_curves(path)
    assert [axes.get_title() for axes in figure.axes[:4]] == ["=1+1", "x", "'x", "cost \\$"]
    assert figure.axes[3].lines[0].get_label() == "a\\$_\\$b"
    figure.draw_without_rendering()  # a name between two $ would be read as a formula


def test_columns_give_the_same_figure_as_their_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,train/loss\n0,3.5\n1,2.5\n")
    ours = training_curves({"epoch": [0, 1], "train/loss": [3.5, 2.5]}).axes[0].lines[0].get_xydata()
    np.testing.assert_array_equal(ours, training_curves(path).axes[0].lines[0].get_xydata())


@pytest.mark.parametrize("text", ["", "epoch,loss\n", "step,loss\n1,2\n", "epoch\n1\n", "epoch,loss\n0,high\n"])
def test_a_file_that_is_no_such_table_is_a_data_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.csv"):
        training_curves(path)


def test_values_missing_from_a_row_that_was_cut_short_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,a,b\n0,1,2\n1,3\n")
    a, b = training_curves(path).axes
    assert np.shape(a.lines[0].get_xydata()) == (2, 2)
    assert np.shape(b.lines[0].get_xydata()) == (1, 2)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        training_curves(tmp_path / "none.csv")


def test_columns_without_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="expected epoch"):
        training_curves({"loss": [1.0]})


def test_reliability_shows_what_abstaining_gains_between_chance_and_the_best_choice() -> None:
    errors = np.arange(100.0)
    left, right = score_reliability(errors, -errors, "mm").axes
    by_score, best, chance = right.lines
    np.testing.assert_allclose(by_score.get_ydata(), best.get_ydata())
    assert by_score.get_ydata()[49] == pytest.approx(errors[:50].mean())
    assert chance.get_ydata()[0] == pytest.approx(errors.mean())
    assert left.lines[0].get_ydata()[0] == pytest.approx(np.median(errors[90:])), "the first tenth is the least sure"
    flat = score_reliability(errors, np.ones(100), "mm").axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(flat, errors.mean(), err_msg="equal scores choose nothing")


def test_reliability_leaves_out_points_without_error_or_score_and_refuses_none() -> None:
    errors, scores = [1.0, np.nan, np.inf, 2.0], [0.5, 0.5, 0.5, np.nan]
    assert len(score_reliability(errors, scores, "px").axes[1].lines[0].get_xdata()) == 1
    with pytest.raises(ValueError, match="no point has both"):
        score_reliability(errors[1:], scores[1:], "px")
    with pytest.raises(ValueError, match="one shape"):
        score_reliability(errors, scores[1:], "px")
