from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medzoo.core.errors import DataError
from medzoo.core.io.listing import (
    content_hash,
    files_in,
    folders_in,
    image_below,
    image_files,
    leftover,
    same_content,
    stem,
    unread_images,
)


@pytest.mark.parametrize(
    "name", [".DS_Store", "._a.png", ".ipynb_checkpoints", "__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"]
)
def test_what_a_system_leaves_is_no_data(name: str, tmp_path: Path) -> None:
    assert leftover(tmp_path / name)
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "inner").mkdir()
    (tmp_path / name).mkdir()
    (tmp_path / name / "b.png").write_bytes(b"x")
    assert files_in(tmp_path) == [tmp_path / "a.png"]
    assert folders_in(tmp_path) == [tmp_path / "inner"]
    assert image_below(tmp_path / "inner") is None
    assert unread_images(tmp_path) == []


def test_names_end_where_the_ending_of_an_image_begins(tmp_path: Path) -> None:
    assert [stem(name) for name in ("a.b.PNG", "x/y.nii.gz", "1.2.840", "C:\\d\\e.dcm", "a\u0308.jpg")] == [
        *("a.b", "y", "1.2.840", "e", "\u00e4")
    ]
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.png: has the same name as a\.jpg; rename or remove one of the two"):
        image_files(tmp_path)
    assert list(image_files(tmp_path, (".png",))) == ["a"]


def test_folders_that_hold_images_are_named_with_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.png").write_bytes(b"x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_bytes(b"x")
    (fault,) = unread_images(tmp_path)
    assert str(fault).startswith(f"{tmp_path / 'deep'}: holds images one level down that are not read, such as deep/er")


def test_copies_are_found_whatever_their_names_and_only_files_of_one_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medzoo.core.io import listing

    for i in range(20):
        (tmp_path / f"{i}").write_bytes(b"x" * (i + 1))
    (tmp_path / "equal size").write_bytes(b"y" * 4)
    shutil.copy(tmp_path / "7", tmp_path / "copy")
    read: list[str] = []

    def counted(path: str) -> bytes:
        read.append(Path(path).name)
        return content_hash(path)

    monkeypatch.setattr(listing, "content_hash", counted)
    known = [str(tmp_path / f"{i}") for i in range(10)]
    tested = [str(tmp_path / name) for name in ("12", "copy", "equal size", "gone")]
    (fault,) = same_content(known, tested)
    assert str(fault).startswith(f"{tmp_path / 'copy'}: is, byte for byte, the training image {tmp_path / '7'}; ")
    assert sorted(read) == ["3", "7", "copy", "equal size"]


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be listed"):
        files_in(tmp_path / "none")
