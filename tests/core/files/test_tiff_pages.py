"""Each page of a TIFF file is an image `FILE.tif#1`, which is read and answered as a file of its own is."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medzoo.core.cli import main
from medzoo.core.errors import DataError
from medzoo.core.files.paths import expand, paged
from medzoo.core.io import read_header, read_image
from medzoo.core.io.listing import stem
from medzoo.core.io.tiff import page_count
from medzoo.core.phantoms import radiograph

RNG = np.random.default_rng(0)
KINDS: dict[str, list[NDArray[Any]]] = {
    "8 bits": [RNG.integers(0, 256, (5, 4)).astype(np.uint8), RNG.integers(0, 256, (3, 7)).astype(np.uint8)],
    "16 bits": [RNG.integers(0, 65536, (4, 4)).astype(np.uint16), RNG.integers(0, 65536, (6, 5)).astype(np.uint16)],
    "colour after grey": [np.full((4, 4), 9, np.uint8), RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8)],
}


def halves(pages: list[NDArray[np.float16]], order: str, last: int = 0) -> bytes:
    """Return a TIFF of 16-bit floats, which Pillow does not read; `last` is where the last says the next is."""
    content = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    for index, page in enumerate(pages):
        height, width = page.shape
        table = len(content) + 2 + 10 * 12 + 4
        end = table + 2 * page.size
        tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: table, 277: 1, 278: height, 279: 2 * page.size}
        content += struct.pack(f"{order}H", 10)
        for tag, value in {**tags, 339: 3}.items():
            content += struct.pack(f"{order}HHII", tag, 4, 1, value)
        content += struct.pack(f"{order}I", end if index + 1 < len(pages) else last)
        content += page.astype(f"{order}f2").tobytes()
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_the_image_that_a_file_of_it_is(kind: str, tmp_path: Path) -> None:
    pages = [Image.fromarray(array) for array in KINDS[kind]]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], dpi=(254, 254))
    assert page_count(str(tmp_path / "a.tif")) == 2
    for number, page in enumerate(pages, 1):
        page.save(tmp_path / f"{number}.tif", dpi=(254, 254))
        found, alone = (
            read_image(tmp_path / f"a.tif#{number}", "native"),
            read_image(tmp_path / f"{number}.tif", "native"),
        )
        np.testing.assert_array_equal(found.array, alone.array)
        assert read_header(tmp_path / f"a.tif#{number}") == read_header(tmp_path / f"{number}.tif")
        assert found.path.endswith(f"a.tif#{number}")
    for read in (read_image, read_header):
        with pytest.raises(DataError, match=r"a\.tif#3: does not exist: the file has 2 pages"):
            read(tmp_path / "a.tif#3")
        with pytest.raises(DataError, match=r"holds 2 pages, expected 1; name one, such as a\.tif#1"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("order", ["<", ">"])
def test_pages_that_pillow_does_not_know_are_read_too(order: str, tmp_path: Path) -> None:
    pages = [RNG.normal(size=(3, 4)).astype(np.float16), RNG.normal(size=(2, 5)).astype(np.float16)]
    path = tmp_path / "a.tiff"
    path.write_bytes(halves(pages, order))
    assert page_count(str(path)) == 2
    for number, page in enumerate(pages, 1):
        np.testing.assert_array_equal(read_image(f"{path}#{number}").array, page.astype(np.float32))
        assert read_header(f"{path}#{number}").size == page.shape[::-1]
    with pytest.raises(DataError, match="the file has 2 pages"):
        read_image(f"{path}#3")
    with pytest.raises(DataError, match="holds several pages"):
        read_image(path)
    path.write_bytes(halves(pages, order, last=8))
    with pytest.raises(DataError, match="in a circle"):
        page_count(str(path))
    path.write_bytes(halves(pages, order)[:150])
    with pytest.raises(DataError, match="cut short"):
        page_count(str(path))


def test_only_files_of_several_pages_are_taken_apart(workdir: Path) -> None:
    page = Image.fromarray(KINDS["8 bits"][0])
    page.save("one.tif")
    page.save("three.TIF", save_all=True, append_images=[page, page])
    page.save("png.png")
    Path("png.png").rename("png.tif")
    Path("broken.tif").write_bytes(b"II*\0\xff\xff\xff\0")
    Path("none.png").write_bytes(b"")
    pages = [f"three.TIF#{number}" for number in (1, 2, 3)]
    assert paged(expand(["."])) == ["broken.tif", "none.png", "one.tif", "png.tif", *pages]
    assert expand(["three.TIF#2"]) == paged(["three.TIF#2"]) == ["three.TIF#2"]
    assert [stem(path) for path in pages] == ["three#1", "three#2", "three#3"]
    with pytest.raises(DataError, match="does not exist"):
        expand(["four.tif#1"])
    with pytest.raises(DataError, match="the file has 0 pages"):
        read_image("png.tif#1")


def test_each_page_has_the_answer_of_its_own_file(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [Image.fromarray((radiograph("chest", k, 60 + k).image * 255).astype(np.uint8)) for k in range(3)]
    pages[0].save("stack.tif", save_all=True, append_images=pages[1:])
    for number, page in enumerate(pages, 1):
        page.save(f"{number}.tif")
    assert main(["predict", "heatmap-phantom", ".", "-o", "out"]) == 0
    found = {r["path"]: r for r in json.loads(Path("out/predictions.json").read_text())["predictions"]}
    assert set(found) == {f"{k}.tif" for k in (1, 2, 3)} | {f"stack.tif#{k}" for k in (1, 2, 3)}
    for number in (1, 2, 3):
        ours, theirs = found[f"stack.tif#{number}"], found[f"{number}.tif"]
        assert ours["landmarks_px"] == theirs["landmarks_px"]
        assert ours["id"] == f"stack#{number}"
    with open("out/predictions.csv", newline="") as file:
        assert {row["id"] for row in csv.DictReader(file)} >= {"stack#1", "stack#2", "stack#3"}
    capsys.readouterr()
    assert main(["predict", "heatmap-phantom", ".", "-o", "out"]) == 0
    assert "skipped, for they have an answer: 6 files" in capsys.readouterr().out
    pages[0].save("stack.tif", save_all=True, append_images=pages[2:])  # other pages under the old names
    assert main(["predict", "heatmap-phantom", "stack.tif", "-o", "out"]) == 0
    assert "skipped" not in capsys.readouterr().out


def test_maps_of_pages_have_their_sizes(workdir: Path) -> None:
    pages = [Image.fromarray((radiograph("chest", k, 60 + k).image * 255).astype(np.uint8)) for k in range(2)]
    pages[0].save("stack.tif", save_all=True, append_images=pages[1:])
    assert main(["predict", "padim-phantom", "stack.tif", "-o", "out"]) == 0
    records = json.loads(Path("out/predictions.json").read_text())["predictions"]
    assert [np.load(r["map"]).shape for r in records] == [page.size[::-1] for page in pages]
