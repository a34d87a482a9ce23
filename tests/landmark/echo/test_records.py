"""What a prediction and a test write: pictures of the clip, tables, the figure of agreement."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medzoo.core.plots.agreement import bland_altman
from medzoo.core.sample import Batch, collate
from medzoo.landmark.echo.data import PlaxPhantoms
from medzoo.landmark.echo.line_table import read_lines
from medzoo.landmark.echo.records import predictions, write_tables
from medzoo.landmark.echo.task import EchoEvaluation, EchoOutputs, EchoSample

SPREAD = torch.tensor([3.0, 4.0, 0.0, 5.0])


def batch_and_truth(size: int | None = None) -> tuple[Batch, EchoOutputs]:
    """Two drawn clips, and outputs that are the truth; the second key frame of the first clip has no line."""
    data = PlaxPhantoms(n_train=1, n_test=2, image_size=32, frames=24)
    clips = data._clips(data.items.test)
    clips.size = None if size is None else (size, size)
    batch = collate([clips[0], clips[1]], EchoSample)
    scale = 1.0 if size is None else size / 32
    points = (torch.cat(batch["landmarks"]).double() + 0.5) * scale - 0.5
    lines = points[:, [0, 3]].clone()
    lines[1], points[1] = torch.nan, torch.nan
    return batch, EchoOutputs(points, SPREAD.expand(4, 4), lines)


@pytest.mark.parametrize("size", [None, 48])
def test_a_prediction_leaves_a_moving_picture_and_tables(tmp_path: Path, size: int | None) -> None:
    """All frames, the key frames longer; motion images of the key frames with a line; lines that can be given back."""
    batch, outputs = batch_and_truth(size)
    found = predictions(batch, outputs, 16)
    record = {**found[0].record}
    assert found[0].save is not None
    written = found[0].save(tmp_path)
    with Image.open(str(written["overlay"])) as picture:
        assert picture.n_frames == 24
        assert picture.size == (384, 384)
        times = []
        for frame in range(24):
            picture.seek(frame)
            times.append(picture.info["duration"])
        assert [frame for frame, time in enumerate(times) if time > 500] == sorted(record["frames"])
        picture.seek(record["frames"][0])
        marked = np.asarray(picture.convert("RGB"), int)
    x, y = (np.array(record["points"][0][1]) + 0.5) * 12
    near = marked[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6]
    assert (np.ptp(near, axis=-1) > 60).any()  # a coloured ring in a grey picture
    with Image.open(str(written["motion"])) as picture:
        assert picture.size == (16 * (384 // (size or 32)), (size or 32) * (384 // (size or 32)))
    write_tables([p.record for p in found], tmp_path)
    table = read_lines(tmp_path / "lines.csv")
    assert [len(rows) for rows in table.rows.values()] == [1, 2]
    values = found[1].record["measures_mm"], found[1].record["spreads_mm"]
    assert values[0]["LVIDd"] == pytest.approx(float(true_lvid(batch)), rel=1e-5)
    assert values[1] == {
        f"{name}{phase}": pytest.approx(value)
        for phase in "ds"
        for name, value in (("IVS", 5.0), ("LVID", 4.0), ("LVPW", 5.0))
    }


def test_clips_without_a_scan_line_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their lengths are empty, and a person should know why."""
    write_tables([p.record for p in predictions(*batch_and_truth(), 16)], tmp_path)
    said = capsys.readouterr().out
    assert said == "no lengths without a scan line, which 1 of 2 clips lack: test-00000\n"


def true_lvid(batch: Batch) -> torch.Tensor:
    inner = batch["landmarks"][1][0, 1:3] * batch["spacing"][1]
    return torch.linalg.vector_norm(inner[1] - inner[0])


def test_a_test_leaves_a_figure_of_agreement(tmp_path: Path) -> None:
    batch, outputs = batch_and_truth()
    evaluation = EchoEvaluation()
    evaluation.update(batch, outputs)
    evaluation.compute()
    evaluation.report(tmp_path)
    with Image.open(tmp_path / "figures" / "plax_agreement.png") as picture:
        assert min(picture.size) > 200
    assert (tmp_path / "samples.csv").is_file()


def test_the_figure_of_agreement_has_bias_and_limits() -> None:
    """Differences 1 and 3: a bias of 2, limits of 1.96 standard deviations, that is √2; a NaN does not count."""
    figure = bland_altman({"LVIDd": ([11.0, 23.0, math.nan], [10.0, 20.0, 5.0]), "LVIDs": ([], [])}, "mm")
    first, second = figure.axes
    heights = sorted(float(np.asarray(line.get_ydata())[0]) for line in first.lines)
    assert heights == pytest.approx([2 - 1.96 * math.sqrt(2), 2, 2 + 1.96 * math.sqrt(2)])
    assert first.get_title() == "LVIDd: +2.00 ± 2.77 mm, n = 2"
    assert not second.lines
    with pytest.raises(ValueError, match="one measure"):
        bland_altman({}, "mm")
