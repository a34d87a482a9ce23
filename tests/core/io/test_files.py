from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo.core.errors import DataError
from medzoo.core.io import is_image, read_image, read_json, read_table, replacing, write_csv, write_json
from medzoo.core.io.columns import columns_of


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})

    def interrupted() -> None:
        with replacing(target) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read_json(target) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_temporary_file_lies_beside_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    with replacing(tmp_path / "new" / "a.txt", fsync=True) as part:
        part.write_text("x")
        assert part.parent == tmp_path / "new"
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "x"


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


def test_json_turns_tensors_arrays_and_nan_into_what_strict_readers_take(tmp_path: Path) -> None:
    content = {"a": torch.tensor(1.5), "b": np.arange(3), "c": float("nan"), "d": [np.float32("inf"), (1, Path("x"))]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": 1.5, "b": [0, 1, 2], "c": None, "d": [None, [1, "x"]]}
    assert text.endswith("}\n")
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text())["a"] == 1.5


def test_csv_has_a_header_even_without_rows_and_refuses_stray_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, [], ["id", "x"])
    assert path.read_text() == "id,x\n"
    write_csv(path, [{"id": "a", "x": np.float64(1.5)}, {"id": "b", "x": None}])
    assert path.read_text() == "id,x\na,1.5\nb,\n"
    with pytest.raises(ValueError, match="stray"):
        write_csv(path, [{"id": "a"}, {"id": "b", "stray": 1}])
    assert len(read_table(path, ["id"])) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", ":1:1: is no JSON"),
        (b'{"a": 1,\n "b" 2}', ":2:6: is no JSON"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": "\xff"}', "no UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "digits"),
    ],
)
def test_json_faults_name_the_place(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_with_byte_order_mark_is_read_and_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json") == [1]
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        read_json(tmp_path / "none.json")


def test_writing_where_one_may_not_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; name the file to write"):
        write_json(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reader", [read_json, columns_of, lambda path: read_table(path, ["id"]), read_image])
def test_a_pipe_or_a_device_is_refused_instead_of_read_without_end(tmp_path: Path, reader: Any) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        with pytest.raises(DataError, match="is not a file"):
            reader(path)
    os.mkfifo(tmp_path / "IM1")
    assert not is_image(tmp_path / "IM1")
