from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing.contract import ModelContract
from medzoo.landmark import CC2D
from medzoo.landmark.matching.patches import Patches
from medzoo.landmark.pseudo import PseudoLabels

TINY: dict[str, Any] = {
    "model.match_size": 64,  # the coarsest map of a smaller image has one cell, and nothing to learn
    "model.patch": 48,
    "model.points": 4,
    "model.vgg_widths": [4, 4, 4, 4, 4],
    "model.vgg_depths": [1, 1, 1, 1, 1],
    "model.decoder_widths": [4, 4, 4, 4],
    "model.embedding": 4,
    "model.finest_width": 4,
    "model.size": 32,
    "model.match_batch": 4,
    "model.detect_batch": 4,
}
DATA = {"data.domains": ["head", "chest"], "data.n_train": 5, "data.n_test": 3, "data.image_size": 48}
SMALL = {name.removeprefix("model."): value for name, value in TINY.items()}


class TestCC2D(ModelContract):
    name: ClassVar[str] = "cc2d"
    tiny: ClassVar[dict[str, Any]] = {**TINY, **DATA}


class TestClassic(ModelContract):
    name: ClassVar[str] = "cc2d"
    tiny: ClassVar[dict[str, Any]] = {**TINY, **DATA, "model.loss": "classic", "model.schedule": "paper"}
    resumes: ClassVar[int | None] = 1


def model(**more: Any) -> CC2D:
    return CC2D(domains={"head": ["a", "b"], "hand": ["a", "b", "c"]}, **{**SMALL, **more})


def test_discs_are_a_share_of_the_images_that_the_data_give() -> None:
    """The radius is one of the paper's settings at any size, also where --data.size differs from the model's."""
    assert [model(size=384).radius(torch.zeros(1, 1, *size)) for size in ((384, 384), (64, 128))] == [19, 6]


def test_the_two_forms_have_the_networks_and_losses_of_their_papers() -> None:
    classic, v2 = model(), model(loss="v2", window=11)
    assert classic.patch_network is not None
    assert v2.patch_network is None
    assert all(len(n.context) == 3 for n in (*classic.network, *v2.network))  # type: ignore[union-attr]
    assert all(len(n.context) == 0 for n in classic.patch_network)
    form = classic.cascade.contrast
    assert (form.half_width, form.temperature, form.margin, form.clamp) == (6, 1.0, 0.0, True)
    form = v2.cascade.contrast
    assert (form.half_width, form.temperature, form.margin, form.margin_limit, form.clamp) == (
        11,
        10.0,
        0.07,
        0.8,
        False,
    )


@pytest.mark.parametrize(
    ("stage", "rate", "step", "factor", "epochs"),
    [("stage1", 1e-5, 11 * 50, 0.8, 11 * 1280), ("stage2", 3e-4, 10 * 30, 0.1, 10 * 90)],
)
def test_the_published_rates_fall_in_steps_and_both_stages_have_weight_decay(
    stage: str, rate: float, step: int, factor: float, epochs: int
) -> None:
    """The public code's epochs show each image eleven times in stage 1 and ten times in stage 2."""
    with torch.device("meta"):
        detect = CC2D(stage=stage, domains={"head": ["a"]})
    configured = detect.configure_optimizers()
    group = configured["optimizer"].param_groups[0]
    assert (type(configured["optimizer"]).__name__, group["lr"], group["weight_decay"]) == ("Adam", rate, 1e-4)
    assert (configured["lr_scheduler"].step_size, configured["lr_scheduler"].gamma) == (step, factor)
    assert detect.max_epochs == epochs
    assert detect.wants().batch_size == (8 if stage == "stage1" else 3)  # and the shot


@pytest.mark.parametrize(("loss", "inner"), [("classic", False), ("v2", True)])
def test_points_of_v2_lie_in_the_middle_of_patches(loss: str, inner: bool) -> None:
    torch.manual_seed(0)
    patches: Patches = model(loss=loss, points=1).sample(torch.rand(200, 1, 64, 64))
    border = torch.minimum(patches.points, 47 - patches.points).amin()
    assert (border >= 5) == inner


def test_the_untrained_classic_loss_is_that_of_equal_cosines() -> None:
    torch.manual_seed(0)
    matcher = model(match_size=384, patch=256)
    image = torch.rand(1, 1, 384, 384)
    network = matcher.matcher
    assert matcher.patch_network is not None
    with torch.no_grad():
        losses = matcher.cascade.loss(network, matcher.patch_network, image, 0, matcher.sample)
    assert 3.98 <= losses[0] <= 5.97
    assert losses[0] == pytest.approx(4.97, abs=0.15)


def detector(shots: int = 1) -> CC2D:
    """A detector of stage 2 with the shots s0, s1, … in the domain hand."""
    detect = model(stage="stage2")
    image, points = torch.full((shots, 1, 32, 32), 9.0), torch.full((shots, 3, 2), 5.0)
    detect.shots = [{"image": image, "points": points}] * 2
    data = SimpleNamespace(shot_ids=[(), tuple(f"s{i}" for i in range(shots))])
    detect._trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
    detect.labels = PseudoLabels({"hand": ["a", "b", "c"]})
    names = [*data.shot_ids[1], "x", "y"]
    detect.labels.add(
        "hand", names, torch.arange(len(names)).double()[:, None, None].expand(-1, 3, 2), torch.ones(9, 3)[: len(names)]
    )
    return detect


def batch(*names: str) -> dict[str, Any]:
    affine = torch.tensor([[2.0, 0, 0.5], [0, 2.0, 0.5]], dtype=torch.float64)
    return {"image": torch.zeros(len(names), 1, 32, 32), "id": list(names), "affine": affine.expand(len(names), -1, -1)}


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("names", [("x", "y"), ("x", "s0"), ("s0",), ("s0", "y", "s1")])
def test_every_batch_of_stage_2_holds_exactly_one_shot(names: tuple[str, ...], shots: int) -> None:
    names = names[:2] if shots == 1 else names
    image, points = detector(shots).with_shot(batch(*names), 1)
    is_shot = image.amax(dim=(1, 2, 3)) == 9
    assert is_shot.tolist() == [True] + [False] * len([n for n in names if n[0] != "s"])
    assert (points[0] == 5).all()


def test_pseudo_labels_reach_the_batch_in_network_pixels() -> None:
    _, points = detector().with_shot(batch("x", "y"), 1)  # labelled 1 and 2 in original pixels
    assert points[1:, 0].tolist() == [[2.5, 2.5], [4.5, 4.5]]


@pytest.mark.parametrize(("name", "size"), [("cc2d", "match_size"), ("uod", "match_size"), ("igu-aug", "size")])
def test_maps_that_would_not_lie_on_the_image_are_refused(
    name: str, size: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"fit --model {name} --data.n_train 2 --data.n_test 1 --trainer.fast_dev_run true --quiet"
    assert main(f"{run} --model.{size} 100 --model.patch 64".split()) == 2
    assert f"--model.{size}: expected multiples of 32, got (100, 100)" in capsys.readouterr().err


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings, message in (
        ({"loss": "v3"}, "--model.loss: expected classic, v2, got v3"),
        ({"detect_batch": 1}, "--model.detect_batch: expected at least 2"),
        ({"stage": "stage3"}, "--model.stage"),
    ):
        with pytest.raises(ConfigError, match=message):
            model(**settings)
