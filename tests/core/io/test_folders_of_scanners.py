"""Folders as a scanner's disk has them: DICOM files without an ending are images, its index is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.anomaly.data.images import some_images as some_images_of_a_class
from medzoo.core.data.files import some_images


def test_dicom_files_without_an_ending_are_listed(tmp_path: Path) -> None:
    for name in ("IM000002", "IM000001", "1.2.840.7", "DICOMDIR", ".IM000003"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(40))
    (tmp_path / "README").write_text("x" * 300)
    expected = ["1.2.840.7", "IM000001", "IM000002"]
    assert list(some_images(tmp_path, "images")) == expected
    assert [path.name for path in some_images_of_a_class(tmp_path)] == expected
    for name in expected:
        (tmp_path / name).unlink()
    for listed in (lambda: some_images(tmp_path, "images"), lambda: some_images_of_a_class(tmp_path)):
        with pytest.raises(Exception, match="holds no image"):
            listed()
