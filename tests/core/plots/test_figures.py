"""Saving in one step, and staying away from global state and from light imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medzoo.core.errors import DataError
from medzoo.core.plots import landmark_overlay, save
from medzoo.core.plots.figures import style


def figure() -> Figure:
    return landmark_overlay(np.zeros((64, 48)), [(10.0, 20.0)], [(12.0, 22.0)])


def test_a_saved_overlay_has_the_size_and_the_points_of_the_figure(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.png"
    save(figure(), path)
    with Image.open(path) as image:
        assert image.size == (384, 512)
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    # Eight screen pixels an image pixel: the cross must be orange, the background black.
    x, y = round((10 + 0.5) * 8), round((20 + 0.5) * 8)
    assert pixels[y, x - 4, 0] > 150 > 80 > pixels[y, x - 4, 2]
    assert pixels[5, 5].max() == 0


def test_the_same_figure_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(figure(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("ending", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_ending_tells_the_format(tmp_path: Path, ending: str, head: bytes) -> None:
    save(figure(), tmp_path / f"a.{ending}")
    assert (tmp_path / f"a.{ending}").read_bytes().startswith(head)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save(figure(), path)
    before = path.read_bytes()
    broken = figure()
    broken.axes[0].set_title("$\\nonsense{$")  # a formula that cannot be drawn
    with pytest.raises(ValueError, match="nonsense"):
        save(broken, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="png"):
        save(figure(), tmp_path / "a.docx")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        save(figure(), tmp_path / "file" / "a.png")


def test_28_lines_differ_in_colour_or_dashes() -> None:
    assert len({(style(k)["color"], style(k)["linestyle"]) for k in range(28)}) == 28


def test_the_package_imports_without_matplotlib_and_draws_without_pyplot() -> None:
    code = (
        "import sys, medzoo.core.plots as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "assert 'save' in dir(p)\n"
        "p.training_curves({'epoch': [0], 'loss': [1.0]})\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
