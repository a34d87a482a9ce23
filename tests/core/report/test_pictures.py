"""Pictures of a report: what is chosen, what is shown of a sample, and that no file can break the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo.core.io import write_image
from medzoo.core.report.pictures import Budget, case, chosen, own_picture, plain, points


def sample(name: str, error: float, path: str = "", **more: str) -> dict[str, str]:
    """A row of samples.csv."""
    return {"id": name, "error": str(error), "path": path, **more}


def test_best_median_and_worst_are_chosen_by_their_error() -> None:
    rows = [sample(f"s{i}", (i * 7) % 11) for i in range(11)] + [sample("none", float("nan"))]
    found = chosen(rows, each=2)
    assert [word for word, _ in found] == ["best", "best", "median", "median", "worst", "worst"]
    assert [float(row["error"]) for _, row in found] == [0, 1, 4, 5, 9, 10]


def test_of_few_samples_all_are_shown_without_a_word() -> None:
    assert [(word, row["id"]) for word, row in chosen([sample("b", 2), sample("a", 1)])] == [("", "a"), ("", "b")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[[1, 2], [3.5, 4]]", [(1.0, 2.0), (3.5, 4.0)]),
        ("[[NaN, 2], [3, 4]]", [(3.0, 4.0)]),
        ("nodules", []),
        ("", []),
        ("[1, 2]", []),
        ('[["a", "b"]]', []),
        ("7", []),
        ("[" * 100_000, []),
    ],
)
def test_points_are_read_from_a_prediction_that_has_them(text: str, found: list[tuple[float, float]]) -> None:
    assert points(text) == found


def test_a_sample_is_shown_with_its_points_in_pixels_of_the_original(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, np.linspace(0, 1, 60 * 90, dtype=np.float32).reshape(60, 90))
    row = sample("<a>", 1.234, str(path), prediction=json.dumps([[10, 20], [30, 40]]), unit="mm")
    shown = case(row, "worst", Budget())
    assert 'viewBox="0 0 90 60"' in shown
    assert re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', shown) == [("10.50", "20.50"), ("30.50", "40.50")]
    assert "error 1.23 mm" in shown
    assert "<a>" not in shown, "names of samples are text, not tags"
    assert "&lt;a&gt;" in shown


def test_a_class_is_shown_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, np.zeros((20, 20), np.float32))
    shown = case(sample("a", 1, str(path), label="clear", prediction="mesh", score="0.7"), "", Budget())
    assert "label clear, found mesh, score 0.7" in shown


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_is_left_out(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    assert case(sample("a", 1, str(path)), "", Budget()) == ""


def test_a_volume_is_left_out_and_a_missing_path_too(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    assert case(sample("a", 1, str(tmp_path / "a.nii.gz")), "", Budget()) == ""
    assert case({"id": "a", "error": "1"}, "", Budget()) == ""


def test_pictures_that_find_no_room_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, np.zeros((20, 20), np.float32))
    budget = Budget(left=100)
    assert case(sample("a", 1, str(path)), "", budget) == ""
    assert (budget.left, budget.refused) == (100, 1)


def test_a_large_picture_of_the_run_is_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "errors_head.png"
    write_image(path, np.random.default_rng(0).random((600, 600)).astype(np.float32))
    budget = Budget()
    shown = own_picture(path, budget)
    assert "data:image/jpeg" in shown
    assert "errors head" in shown
    assert len(shown) < path.stat().st_size
    assert 4_500_000 - budget.left == pytest.approx(len(shown), rel=0.01)


@pytest.mark.parametrize("content", [None, b"text" * 50_000])
def test_a_picture_of_the_run_that_cannot_be_read_is_left_out(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "errors.png"
    if content is not None:
        path.write_bytes(content)
    assert own_picture(path, Budget()) == ""


@pytest.mark.parametrize(("name", "wanted"), [("errors_head", True), ("overlay_p7", False)])
def test_pictures_of_single_cases_are_known_by_their_names(name: str, wanted: bool) -> None:
    assert plain(Path(f"{name}.png")) is wanted
