from __future__ import annotations

import json
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
from medzoo.landmark.echo.lines import motion_images
from medzoo.landmark.echo.measures import MEASURES
from medzoo.landmark.echo.scan_line import lengths_mm
from medzoo.landmark.echo.task import EchoSample
from medzoo.landmark.enlvam.module import EnLVAM

DATA: dict[str, Any] = {
    "model.batch": 2,
    "data.n_train": 5,
    "data.n_val": 0,
    "data.n_test": 3,
    "data.image_size": 24,
    "data.frames": 24,
}


class TestMotionImage(ModelContract):
    name: ClassVar[str] = "enlvam"
    tiny: ClassVar[dict[str, Any]] = {**DATA, "model.widths": [2, 4], "model.columns": 16}
    differentiates_to: ClassVar[str] = "clip"


class TestKeyFrame(ModelContract):
    name: ClassVar[str] = "enlvam"
    tiny: ClassVar[dict[str, Any]] = {**DATA, "model.widths": [2, 4], "model.image": "bmode"}
    differentiates_to: ClassVar[str] = "clip"
    resumes: ClassVar[int | None] = 1


class TestFoundLine(ModelContract):
    name: ClassVar[str] = "enlvam"
    tiny: ClassVar[dict[str, Any]] = {**DATA, "model.widths": [4, 8], "model.columns": 16, "model.line": "found"}
    differentiates_to: ClassVar[str] = "clip"
    resumes: ClassVar[int | None] = 1


def batch_of(clips: int = 2, size: tuple[int, int] | None = None) -> Batch:
    data = PlaxPhantoms(n_train=1, n_test=clips, image_size=48, frames=24)
    samples = data._clips(data.items.test)
    samples.size = size
    return collate([samples[i] for i in range(clips)], EchoSample)


@pytest.mark.parametrize("size", [None, (40, 64)])
def test_points_lie_on_the_scan_line_whatever_the_network_says(size: tuple[int, int] | None) -> None:
    """All four on the given line, also where the clip is shown at another shape."""
    batch = batch_of(size=size)
    torch.manual_seed(0)
    model = EnLVAM(widths=[2, 4]).eval()
    lines = model.lines(batch)
    for points, line in zip(model.outputs(batch).points, lines, strict=True):
        assert line is not None
        assert torch.allclose(line.to_frame(line.to_depth(points)), points.double(), atol=1e-4)


def test_a_key_frame_without_a_line_has_no_points_and_leaves_the_others_alone() -> None:
    batch = batch_of()
    torch.manual_seed(0)
    model = EnLVAM(widths=[2, 4]).eval()
    before = model.outputs(batch).points
    batch["lines"][0][1] = torch.nan
    after = model.outputs(batch).points
    assert bool(after[1].isnan().all())
    assert torch.allclose(after[[0, 2, 3]], before[[0, 2, 3]])


def test_frames_behind_a_shorter_clip_are_never_seen() -> None:
    """Padding of a batch does not enter the window, which wraps round the clip's own end."""
    batch = batch_of(1)
    model = EnLVAM(widths=[2, 4])
    alone = motion_images(batch, model.lines(batch), 64)
    batch["clip"] = torch.nn.functional.pad(batch["clip"], (0, 0, 0, 0, 0, 7), value=1.0)
    assert torch.equal(motion_images(batch, model.lines(batch), 64), alone)


def test_a_tilted_line_measures_a_tube_longer_by_its_cosine() -> None:
    """Of a tube 30 mm wide, whose borders are those of the rows 20 and 50, by 1 / cos 20°."""
    borders = torch.tensor([[40.0, 20.0], [40.0, 50.0]])
    angle = torch.deg2rad(torch.tensor(20.0))
    tilted = torch.stack([borders[:, 0] + (borders[:, 1] - 35) * torch.tan(angle), borders[:, 1]], dim=-1)
    one = torch.ones(2)
    assert float(lengths_mm(tilted, one)) == pytest.approx(float(lengths_mm(borders, one) / torch.cos(angle)))


def test_a_found_line_asks_for_none_in_the_clip() -> None:
    """Its points are those of the second network, whatever line the clip has; all four lie on it."""
    batch = batch_of()
    torch.manual_seed(0)
    model = EnLVAM(widths=[2, 4], line="found").eval()
    before = model.outputs(batch)
    batch["lines"] = [torch.full_like(lines, torch.nan) for lines in batch["lines"]]
    after = model.outputs(batch)
    assert torch.equal(after.points, before.points)
    assert bool(after.points.isfinite().all())


def test_wrong_options_cost_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (({"image": "mmode"}, "image"), ({"widths": [4]}, "widths"), ({"columns": 2}, "columns")):
        with pytest.raises(ConfigError, match=message):
            EnLVAM(**options)  # type: ignore[arg-type]
    assert main(["fit", "--model", "enlvam", "--data", "landmark-phantoms", "--quiet"]) == 2
    assert "\n" not in capsys.readouterr().err.strip()


def test_own_clips_are_predicted_along_the_line_of_their_table(echo_clips: Callable[..., Path], workdir: Path) -> None:
    """From a fit on a folder: six lengths a clip, points on the line through its calipers."""
    data = ["--data", "echo-folder", "--data.root", str(echo_clips(3)), "--data.test_fraction", "0.4"]
    quick = ["--model.steps", "2", "--trainer.accelerator", "cpu", "--quiet", "--model.batch", "2"]
    assert main(["fit", "--model", "enlvam", *data, *quick, "--run_dir", "run"]) == 0
    found = ["predict", "--ckpt_path", "run/checkpoints/last.ckpt", "--quiet", "--run_dir", "predicted"]
    assert main([*found, "--trainer.accelerator", "cpu"]) == 0
    records = json.loads(Path("predicted/predictions.json").read_text())["predictions"]
    assert {record["id"] for record in records} == {"clip0", "clip1", "clip2"}
    assert all(set(record["measures_mm"]) == set(MEASURES) for record in records)
    for record in records:
        points = torch.tensor(record["points"], dtype=torch.float64)
        for row in points:
            assert float(torch.linalg.svdvals(row - row.mean(dim=0))[1]) < 1e-3
