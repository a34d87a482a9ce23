"""What scores are worth: the error to expect, learnt from annotated images, and kept with the weights."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from medzoo.core import create_datamodule, load_checkpoint
from medzoo.core.cli import main
from medzoo.core.errors import CheckpointError
from medzoo.landmark.calibration import COPIES, calibrations, doubt, fitted, is_calibration, sureness
from medzoo.landmark.found import Found
from medzoo.landmark.heatmap.module import Heatmap


def drawn(count: int, slope: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return errors `(N, 3)` that follow the form which is fitted, scores, and the levels."""
    drawn = torch.Generator().manual_seed(0)
    scores = torch.rand(count, 3, generator=drawn, dtype=torch.float64)
    levels = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    noise = 0.1 * torch.randn(count, 3, generator=drawn, dtype=torch.float64)
    return (levels + slope * doubt(scores) + noise).exp(), scores, levels


def test_levels_and_slope_are_found_again_where_some_points_are_unknown() -> None:
    errors, scores, levels = drawn(400, 0.7)
    errors[::3, 1] = torch.nan
    found = fitted(errors, scores).double()
    torch.testing.assert_close(found, torch.cat([levels, torch.tensor([0.7])]), atol=0.03, rtol=0)


def test_a_landmark_that_was_never_seen_has_the_mean_level_and_a_wrong_way_slope_is_none() -> None:
    errors, scores, _ = drawn(400, -0.5)
    errors[:, 2] = torch.nan
    found = fitted(errors, scores)
    assert found[-1] == 0
    assert found[2] == pytest.approx(float(found[:2].mean()), abs=1e-5)
    assert fitted(torch.full((4, 2), torch.nan), torch.ones(4, 2)).tolist() == [0, 0, 0]


def test_a_score_falls_with_doubt_and_with_how_hard_the_landmark_is() -> None:
    calibration = torch.tensor([0.0, 1.0, 0.5])
    scores = sureness(torch.tensor([[0.9, 0.9], [0.2, 0.2], [1.2, torch.nan]]), calibration)
    assert ((scores[:2] > 0) & (scores[:2] < 1)).all()
    assert (scores[:2, 0] > scores[:2, 1]).all()
    assert (scores[0] > scores[1]).all()
    assert scores[2, 0].isfinite()
    assert scores[2, 1].isnan()  # is not hidden
    assert scores[0, 0] == pytest.approx(1 / (1 + (0.1 + 1e-4) ** 0.5), abs=1e-5)


def test_what_a_checkpoint_holds_is_checked() -> None:
    assert is_calibration({}, {"head": ["a"]})
    assert is_calibration({"head": torch.zeros(2)}, {"head": ["a"]})
    for wrong in ({"head": torch.zeros(3)}, {"hand": torch.zeros(2)}, {"head": [0.0, 0.0]}, 1, None):
        assert not is_calibration(wrong, {"head": ["a"]})


def test_a_fit_ends_with_it_and_test_and_predict_use_it(workdir: Path) -> None:
    data = "--data.domains [head] --data.n_train 6 --data.n_test 4 --data.image_size 48"
    small = "--model.width 2 --model.size 32 --model.batch 3 --model.steps 4 --trainer.accelerator cpu --quiet"
    assert main(f"fit --model heatmap {small} {data} --run_dir run".split()) == 0
    path = "run/checkpoints/last.ckpt"
    model = load_checkpoint(path)
    (calibration,) = model.calibration.values()  # type: ignore[union-attr, operator]
    assert calibration.shape == (20,)
    assert main(f"test --ckpt_path {path} --run_dir again --trainer.accelerator cpu --quiet".split()) == 0
    rows = [Path(f"{folder}/samples.csv").read_text() for folder in ("run", "again")]
    assert rows[0] == rows[1]
    assert main(f"predict --ckpt_path {path} --run_dir out --trainer.accelerator cpu --quiet".split()) == 0
    least: dict[str, float] = {}
    for row in csv.DictReader(Path("out/predictions.csv").read_text().splitlines()):
        least[row["id"]] = min(float(row["score"]), least.get(row["id"], 1.0))
    assert list(least.values()) == sorted(least.values())
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    options = {"domains": ["head"], "n_train": 6, "n_test": 4, "image_size": 48, "shots": "all", "size": 32}
    data = create_datamodule("landmark-phantoms", **options)  # type: ignore[arg-type]
    images = data.annotated(COPIES)  # type: ignore[union-attr, operator]
    again = calibrations(model, map(images.__getitem__, range(len(images))))  # type: ignore[arg-type]
    torch.testing.assert_close(again["head"], calibration)
    assert torch.equal(torch.random.get_rng_state(), state)  # training draws as it would without it


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_is_learnt_from_one_image_a_few_copies_at_a_time_in_mixed_precision_too(
    workdir: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    answer = Heatmap.forward

    def watched(self: Heatmap, image: torch.Tensor, domain: int) -> Found:
        sizes.append(len(image))
        return answer(self, image, domain)

    monkeypatch.setattr(Heatmap, "forward", watched)
    data = "--data.domains [head] --data.n_train 2 --data.n_test 1 --data.image_size 48 --data.shots 1"
    small = "--model.width 2 --model.size 32 --model.batch 3 --model.steps 1 --trainer.accelerator cpu --quiet"
    assert main(f"fit --model heatmap {small} {data} --trainer.precision {precision} --run_dir run".split()) == 0
    assert max(sizes) == 3
    assert sum(sizes) >= COPIES
    content = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert content["calibration"]["head"].isfinite().all()


def test_one_of_another_model_is_refused(workdir: Path) -> None:
    data = "--data.domains [head] --data.n_train 2 --data.n_test 1 --data.image_size 48"
    small = "--model.width 2 --model.size 32 --model.batch 2 --model.steps 1 --trainer.accelerator cpu --quiet"
    assert main(f"fit --model heatmap {small} {data} --run_dir run".split()) == 0
    path = Path("run/checkpoints/last.ckpt")
    content = torch.load(path, weights_only=True)
    content["calibration"] = {"head": torch.zeros(7)}
    torch.save(content, "other.ckpt")
    with pytest.raises(CheckpointError, match="calibration"):
        load_checkpoint("other.ckpt")
