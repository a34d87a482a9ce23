"""Which files a command line names, and what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.files.paths import expand, named
from medzoo.core.io import write_image


@pytest.fixture
def tree(workdir: Path) -> Path:
    for name in ("a/2.png", "a/1.png", "a/in/3.png", "b/1.png", "a/.hidden/4.png", "a/__MACOSX/5.png"):
        write_image(name, np.ones((2, 2)))
    Path("a/notes.txt").write_text("none")
    Path("a/IM0001").write_bytes(b"\0" * 128 + b"DICM")  # as scanners write them
    return workdir


def test_folders_patterns_and_files_are_taken_once_and_in_order(tree: Path) -> None:
    inside = ["a/1.png", "a/2.png", "a/IM0001", "a/in/3.png"]
    assert expand(["a"]) == inside
    assert expand(["./a/", "a/2.png", "*/1.png"]) == [*inside, "b/1.png"]
    assert expand(["a/**/*.png"]) == ["a/1.png", "a/2.png", "a/in/3.png"]
    assert expand(["a/../b/*.png"]) == ["b/1.png"]
    assert expand(["a/notes.txt"]) == ["a/notes.txt"]  # named itself, and refused when it is read


@pytest.mark.parametrize("signs", [("about.json", "predictions.jsonl"), ("config.yaml", "environment.json")])
def test_pictures_of_answers_and_runs_are_no_images_unless_they_are_named(signs: tuple[str, str], tree: Path) -> None:
    """As where the answers go into the folder of the images, and the same command is given again."""
    before = expand(["a"])
    write_image("a/out/masks/1.png", np.ones((2, 2)))
    for name in signs:
        Path("a/out", name).write_text("{}")
    assert expand(["a"]) == before
    assert expand(["a/**/*.png"]) == ["a/1.png", "a/2.png", "a/in/3.png"]
    for path in ("a/out", "a/out/masks/*.png"):
        assert expand([path]) == ["a/out/masks/1.png"]


@pytest.mark.parametrize(
    ("path", "message"), [("none", "does not exist"), ("x/*.png", "matches no image"), ("e", "holds no image")]
)
def test_what_is_not_there_is_said(path: str, message: str, tree: Path) -> None:
    Path("e").mkdir()
    with pytest.raises(DataError, match=message):
        expand([path])


def test_files_of_one_name_have_ids_of_their_own_which_stay_in_a_later_call(tree: Path) -> None:
    first = named(["a/1.png", "b/1.png"], {})
    assert list(first.values()) == ["a/1.png", "b/1.png"]
    one, other = first
    assert one == "1"
    assert other.startswith("1-")
    later = named(["b/1.png", "a/in/1.png"], first)
    assert next(iter(later)) == other
    assert len({*first, *later}) == 3
