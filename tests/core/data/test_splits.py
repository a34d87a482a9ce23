"""Splits where there is little to split, patients from a table, and the folders of a layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.core.data.files import existing_root, first_folder, some_images
from medzoo.core.data.splits import Split, read_patients, split_by_fraction
from medzoo.core.errors import DataError

NAMES = [f"image{i:02}" for i in range(40)]


def test_nothing_is_taken_where_no_part_is_asked_for_or_only_one_patient_is_there() -> None:
    assert split_by_fraction(NAMES, {}, 0.0, 0.0, 0) == Split(train=tuple(NAMES))
    alone = dict.fromkeys(NAMES, "p")
    assert split_by_fraction(NAMES, alone, 0.5, 0.2, 0).test == (), "somebody must be left to train on"


def test_the_smallest_of_large_patients_is_tested_on() -> None:
    """Every patient has more images than the target, and a test without any would be none."""
    patients = {f"a{i}": "a" for i in range(9)} | {f"b{i}": "b" for i in range(6)}
    assert split_by_fraction(list(patients), patients, 0.1, 0.0, 0).test == tuple(f"b{i}" for i in range(6))


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("Filename;Subject\na.dcm;x\n", {"a": "patient x"}),
        ("id,patient\na,\nb,3\n", {"b": "patient 3"}),
        ("name,age\na,7\n", {}),
        ("Image,Subject_ID\na.png,x\n", {"a": "patient x"}),
        ("File Name;Patient ID\na.dcm;x\nb/a.dcm;x\n", {"a": "patient x"}),
    ],
)
def test_patients_come_from_a_table_in_the_root(tmp_path: Path, table: str, found: dict[str, str]) -> None:
    assert read_patients(tmp_path) == {}
    (tmp_path / "metadata.csv").write_text(table, encoding="utf-8")
    assert read_patients(tmp_path) == found


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("patient\n7\n", "has patients in the column 'patient', and no column of their images; call that column name"),
        ("name,patient\nm/1.png,P1\nm/2.png,P1\nn/1.png,P2\n", r"csv:4:2: patient of '1' is 'P2', further up 'P1'"),
    ],
)
def test_patients_that_cannot_be_given_to_images_are_an_error_and_no_split_that_parts_them(
    tmp_path: Path, table: str, said: str
) -> None:
    (tmp_path / "metadata.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_patients(tmp_path)


def test_the_folders_of_a_layout_are_named_in_their_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist.*folder that holds images/"):
        existing_root(tmp_path / "none", "images/")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="is not a folder"):
        existing_root(tmp_path / "file", "images/")
    with pytest.raises(DataError, match=r"has no folder pngs or images.*expected a layout"):
        first_folder(tmp_path, ("pngs", "images"), "a layout")
    (tmp_path / "images").mkdir()
    assert first_folder(tmp_path, ("pngs", "images"), "a layout") == tmp_path / "images"
    with pytest.raises(DataError, match=r"holds no image.*expected pictures"):
        some_images(tmp_path / "images", "pictures")
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    assert list(some_images(tmp_path / "images", "pictures")) == ["a"]
    with pytest.raises(DataError, match="one level down"):
        some_images(tmp_path, "pictures")
