from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch, collate
from medzoo.core.testing.contract import ModelContract
from medzoo.landmark.echo.data import PlaxPhantoms
from medzoo.landmark.echo.lines import given_lines
from medzoo.landmark.echo.measures import MEASURES, line_errors
from medzoo.landmark.echo.task import EchoSample
from medzoo.landmark.wiselvam.module import WiseLVAM

DATA: dict[str, Any] = {"model.batch": 2, "data.n_train": 5, "data.n_val": 0, "data.n_test": 3}
SMALL: dict[str, Any] = {"data.image_size": 24, "data.frames": 24, "model.widths": [4, 8], "model.columns": 16}


class TestContour(ModelContract):
    name: ClassVar[str] = "wiselvam"
    tiny: ClassVar[dict[str, Any]] = {**DATA, **SMALL, "model.places": 3}
    differentiates_to: ClassVar[str] = "clip"


class TestPoints(ModelContract):
    name: ClassVar[str] = "wiselvam"
    tiny: ClassVar[dict[str, Any]] = {**DATA, **SMALL, "model.places": 3, "model.line": "points", "model.move": False}
    differentiates_to: ClassVar[str] = "clip"
    resumes: ClassVar[int | None] = 1


def batch_of(clips: int, image_size: int = 48) -> Batch:
    samples = PlaxPhantoms(n_train=1, n_test=clips, image_size=image_size, frames=24, size=image_size)
    loaded = samples._clips(samples.items.test)
    return collate([loaded[i] for i in range(clips)], EchoSample)


def test_a_line_asks_nothing_of_the_truth() -> None:
    """Neither points nor lines of the clip have a say in a test; those that a person placed do."""
    batch = batch_of(2)
    torch.manual_seed(0)
    model = WiseLVAM(widths=[2, 4]).eval()
    before = model.outputs(batch)
    batch["landmarks"] = [torch.full_like(points, torch.nan) for points in batch["landmarks"]]
    given = [lines.clone() for lines in batch["lines"]]
    batch["lines"] = [torch.full_like(lines, torch.nan) for lines in batch["lines"]]
    assert torch.equal(model.outputs(batch).points, before.points)
    batch["lines"] = given
    batch["placed"][1][0] = True
    after = model.outputs(batch)
    wanted = given_lines(batch)[2]
    assert wanted is not None
    assert torch.equal(after.lines[2], torch.stack([wanted.start, wanted.end]))
    assert torch.equal(after.points[[0, 1, 3]], before.points[[0, 1, 3]])


def test_points_lie_on_the_line_that_is_reported() -> None:
    batch = batch_of(2)
    torch.manual_seed(0)
    outputs = WiseLVAM(widths=[2, 4]).eval().outputs(batch)
    start, end = outputs.lines.unbind(dim=1)
    across = (end - start).flip(-1) * torch.tensor([1, -1]) / (end - start).norm(dim=1, keepdim=True)
    off = ((outputs.points.detach() - start[:, None]) * across[:, None]).sum(dim=-1)
    assert float(off.abs().max()) < 1e-3


def test_measuring_along_a_moved_line_takes_less_than_50_ms() -> None:
    """What a viewer waits for after a person moved the line of a clip of the default size, on one core."""
    batch = batch_of(1, image_size=96)
    model = WiseLVAM().eval()
    lines, times = given_lines(batch), []
    with torch.no_grad():
        for _ in range(7):
            start = time.process_time()
            model.measured_along(batch, lines)
            times.append(time.process_time() - start)
    assert sorted(times)[3] < 0.05


def test_wrong_options_cost_one_line() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"line": "axis"}, "line"),
        ({"places": 4}, "odd places"),
        ({"reach": 1.0}, "reach"),
        ({"jitter": [1.0]}, "jitter"),
        ({"smooth_weight": -1.0}, "smooth_weight"),
        ({"widths": [4]}, "widths"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            WiseLVAM(**options)


def fitted(root: Path) -> list[str]:
    """Fit on a folder for two steps; return the options of a prediction."""
    data = ["--data", "echo-folder", "--data.root", str(root), "--data.test_fraction", "0.4"]
    quick = ["--model.steps", "2", "--trainer.accelerator", "cpu", "--quiet", "--model.batch", "2"]
    assert main(["fit", "--model", "wiselvam", *data, *quick, "--run_dir", "run"]) == 0
    return ["predict", "--ckpt_path", "run/checkpoints/last.ckpt", "--quiet", "--trainer.accelerator", "cpu"]


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf8") as file:
        return list(csv.DictReader(file))


def test_a_person_edits_the_line_and_measures_again(
    echo_clips: Callable[..., Path], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The written file changes nothing when given back; an edited row changes the key frame that it is of."""
    predict = fitted(echo_clips(3))
    assert main([*predict, "--run_dir", "first"]) == 0
    lines, measures = rows_of("first/lines.csv"), rows_of("first/measures.csv")
    assert [row["clip"] for row in measures] == ["clip0", "clip1", "clip2"]
    assert set(measures[0]) == {"clip", "path"} | {f"{n}{what}_mm" for n in MEASURES for what in ("", "_spread")}
    assert len(lines) == 6
    assert main([*predict, "--run_dir", "again", "--data.lines", "first/lines.csv"]) == 0
    for old, new in zip(measures, rows_of("again/measures.csv"), strict=True):
        assert [float(new[f"{n}_mm"]) for n in MEASURES] == pytest.approx(
            [float(old[f"{n}_mm"]) for n in MEASURES], abs=0.01
        )
    text = Path("first/lines.csv").read_text().splitlines()
    text[1] = ",".join([*text[1].split(",")[:3], "10", "2", "13", "20"])
    Path("edited.csv").write_text("\n".join(text) + "\n")
    assert main([*predict, "--run_dir", "edited", "--data.lines", "edited.csv"]) == 0
    first, edited = (
        json.loads(Path(run, "predictions.json").read_text())["predictions"] for run in ("first", "edited")
    )
    new = torch.tensor(edited[0]["lines"], dtype=torch.float64)
    wanted = torch.tensor([[[10.0, 2.0], [13.0, 20.0]] * 2], dtype=torch.float64).view(1, 4, 2)
    assert float(line_errors(new[:1], wanted, torch.ones(2))["angle_deg"]) < 1e-3
    assert edited[0]["points"][0] != first[0]["points"][0]
    kept = torch.tensor([first[0]["points"][1], edited[0]["points"][1]])
    assert torch.allclose(kept[0], kept[1], atol=0.01)
    capsys.readouterr()
    bad = {
        "clip0,99,d,10,2,13,20": "99 is no key frame",
        "clip9,3,d,10,2,13,20": "clip 'clip9' is none of these data",
        f"{','.join(text[1].split(',')[:3])},10,2,10,2": "two different points",
        f"{','.join(text[1].split(',')[:3])},-10,0,-10,5": "misses a frame",
    }
    for row, message in bad.items():
        Path("bad.csv").write_text(f"{text[0]}\n{row}\n")
        assert main([*predict, "--run_dir", "bad", "--data.lines", "bad.csv"]) == 2
        err = capsys.readouterr().err.strip()
        assert message in err
        assert "\n" not in err
