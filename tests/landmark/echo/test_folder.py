"""Folders of pictures with a table of calipers: what is read, and what bad clips cost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.core.cli import main
from medzoo.landmark.echo.folder import EchoFolder
from medzoo.landmark.echo.phantom import plax_clip

Maker = Callable[..., Path]


def test_a_clip_is_read_as_it_was_written(echo_clips: Maker) -> None:
    data = EchoFolder(str(echo_clips(2)), test_fraction=0.0)
    assert data.check() == []
    clip = next(item for item in data.items.train if item.name == "clip1").load()
    drawn = plax_clip((11, 1), (24, 32), 24)
    assert np.abs(clip.frames / 255 - drawn.clip).max() <= 0.5 / 255 + 1e-6
    assert clip.points is not None
    assert np.allclose(clip.points, drawn.points)
    assert np.allclose(clip.lines, drawn.points[:, [0, 3]])
    assert (clip.keys, clip.phases) == (drawn.keys, ("d", "s"))
    assert clip.spacing == pytest.approx(drawn.spacing)
    assert clip.rate == pytest.approx(drawn.rate)


@pytest.mark.parametrize("column", ["patient", "Subject ID"])
def test_clips_of_a_patient_stay_together(echo_clips: Maker, column: str) -> None:
    folder = echo_clips(6)
    table = folder / "calipers.csv"
    table.write_text(table.read_text().replace("patient", column, 1))
    items = EchoFolder(str(folder), test_fraction=0.34, val_fraction=0.34).items
    patients = [{item.patient for item in part} for part in items[:3]]
    assert [len(part) for part in items[:3]] == [2, 2, 2]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 3


def table(root: Path, change: Callable[[list[list[str]]], None]) -> None:
    rows = [line.split(",") for line in (root / "calipers.csv").read_text().splitlines()]
    change(rows)
    (root / "calipers.csv").write_text("\n".join(map(",".join, rows)) + "\n")


def test_a_line_of_the_table_takes_precedence_and_a_clip_without_points_is_predicted(echo_clips: Maker) -> None:
    """A person's line in the file: two points, for a clip that nobody measured."""
    root = echo_clips(3)

    def change(rows: list[list[str]]) -> None:
        rows[0] += ["line_x0", "line_y0", "line_x1", "line_y1"]
        for row in rows[1:]:
            line = ["10", "2", "12", "20"] if row[0] == "clip2" else ["", "", "", ""]
            row[3:11] = [""] * 8 if row[0] == "clip2" else row[3:11]
            row += line

    table(root, change)
    data = EchoFolder(str(root), test_fraction=0.34)
    assert data.check() == []
    labelled = {item.name for part in data.items[:3] for item in part}
    assert labelled == {"clip0", "clip1"}
    clip = next(item for item in data.items.predict if item.name == "clip2").load()
    assert clip.points is None
    assert clip.lines.tolist() == [[[10, 2], [12, 20]]] * 2


def test_what_holds_for_a_whole_clip_may_stand_in_any_of_its_rows_and_must_agree(echo_clips: Maker) -> None:
    root = echo_clips(2)
    plain = EchoFolder(str(root), test_fraction=0.0).items.train[1].load()

    def set_first(column: str, value: str) -> None:
        table(root, lambda rows: rows[3].__setitem__(rows[0].index(column), value))

    for column in ("spacing_x", "rate"):
        set_first(column, "")
    clip = EchoFolder(str(root), test_fraction=0.0).items.train[1].load()
    assert (clip.spacing, clip.rate) == (plain.spacing, plain.rate)
    for column, value in (("spacing_x", "0.31"), ("patient", "p7")):
        set_first("spacing_y", "0.3")
        set_first(column, value)
        (fault,) = EchoFolder(str(root)).check()
        assert "all rows of a clip" in str(fault)
        set_first("spacing_x", "")


def test_clips_of_other_frame_sizes_never_share_a_batch(echo_clips: Maker) -> None:
    """Machines store frames in several sizes; where the network sees them as stored they cannot be stacked."""
    root = echo_clips(5)
    for clip in ("clip1", "clip3"):
        for path in (root / clip).iterdir():
            Image.open(path).crop((0, 0, 32, 22)).save(path)
    for size, batches in ((None, 2), (16, 1)):
        data = EchoFolder(str(root), test_fraction=0.0, size=size, batch_size=8)
        for loader in (data.train_dataloader(), data.predict_dataloader()):
            found = list(loader)
            assert len(found) == batches
            assert sorted(name for batch in found for name in batch["id"]) == [f"clip{i}" for i in range(5)]
    assert {tuple(batch["clip"].shape[2:]) for batch in EchoFolder(str(root)).predict_dataloader()} == {
        (24, 32),
        (22, 32),
    }


def test_a_clip_with_one_known_length_is_trained_or_tested_on(echo_clips: Maker) -> None:
    """Two neighbouring points give a length; a lone point and a point beside a gap do not."""
    root = echo_clips(3)

    def change(rows: list[list[str]]) -> None:
        for row in rows[1:]:
            if row[0] == "clip1":
                row[3:5] = row[9:11] = ["", ""]
            if row[0] == "clip2":
                row[5:7] = row[9:11] = ["", ""]

    table(root, change)
    items = EchoFolder(str(root), test_fraction=0.0).items
    assert [item.name for item in items.train] == ["clip0", "clip1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["10", "2", "12", ""], "is empty, and other coordinates of the line are not"),
        (["10", "2", "10", "2"], "expected two different points"),
        (["40", "2", "41", "20"], "misses a frame"),
    ],
)
def test_a_bad_line_of_the_table_costs_one_line(echo_clips: Maker, line: list[str], message: str) -> None:
    """Half a line would be left out and the one through the points taken; past the frame nothing is measured."""
    root = echo_clips(2)

    def change(rows: list[list[str]]) -> None:
        rows[0] += ["line_x0", "line_y0", "line_x1", "line_y1"]
        for number, row in enumerate(rows[1:]):
            row += line if number == 2 else [""] * 4

    table(root, change)
    (fault,) = EchoFolder(str(root)).check()
    assert message in str(fault)
    assert "calipers.csv:4" in str(fault)


def keep_one(root: Path) -> None:
    for path in sorted((root / "clip1").iterdir())[1:]:
        path.unlink()


def cut(root: Path) -> None:
    path = root / "clip1" / "004.png"
    path.write_bytes(path.read_bytes()[:20])


def other_size(root: Path) -> None:
    Image.new("L", (30, 24)).save(root / "clip1" / "004.png")


def set_cell(column: str, value: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        def change(rows: list[list[str]]) -> None:
            for row in rows[1:]:
                if row[0] == "clip1":
                    row[rows[0].index(column)] = value

        table(root, change)

    return damage


def no_rows(root: Path) -> None:
    table(root, lambda rows: rows.__setitem__(slice(None), [row for row in rows if row[0] != "clip1"]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (keep_one, "has 1 frames, expected 2 to 4096"),
        (lambda root: shutil.rmtree(root / "clip1"), "there is no clip 'clip1'"),
        (cut, "004.png"),
        (other_size, "004.png: has 30 × 24 pixels, 000.png has 32 × 24"),
        (no_rows, "clip1: has no key frame in calipers.csv"),
        (set_cell("frame", "24"), "has the frames 0 to 23"),
        (set_cell("x2", "33"), "expected a point within 32 × 24 pixels"),
        (set_cell("y1", ""), "both its coordinates empty"),
        (set_cell("spacing_x", ""), "says nothing of its spacing"),
        (set_cell("spacing_x", "500"), "perhaps it is in micrometres"),
        (set_cell("phase", "x"), "phase"),
    ],
)
def test_a_bad_clip_costs_one_line(
    echo_clips: Maker, damage: Callable[[Path], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = echo_clips(2)
    damage(root)
    assert main(["check", "--data", "echo-folder", "--data.root", str(root)]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert err.count("\n") == 0, err
