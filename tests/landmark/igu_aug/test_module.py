from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.testing.contract import ModelContract
from medzoo.landmark import IGUAug
from medzoo.landmark.igu_aug.handover import calibration, read_intervals
from medzoo.landmark.igu_aug.information import entropy_map

TINY: dict[str, Any] = {
    "model.size": 64,  # the coarsest map of a smaller image has one cell, and nothing to learn
    "model.patch": 48,
    "model.points": 4,
    "model.radius": 4,
    "model.medium": 1.0,
    "model.high": 3.0,
    "model.references": 2,
    "model.vgg_widths": [4, 4, 4, 4, 4],
    "model.vgg_depths": [1, 1, 1, 1, 1],
    "model.decoder_widths": [4, 4, 4, 4],
    "model.embedding": 4,
    "model.batch": 4,
    "model.upsampling": "nearest",  # the last digits of a refined maximum depend on how images share a batch
}
DATA = {"data.domains": ["head", "chest"], "data.n_train": 5, "data.n_test": 3, "data.image_size": 64}


class TestIGUAug(ModelContract):
    name: ClassVar[str] = "igu-aug"
    tiny: ClassVar[dict[str, Any]] = {**TINY, **DATA}


def test_the_networks_are_those_of_cc2d() -> None:
    with torch.device("meta"):
        model = IGUAug(domains={"head": ["a"]})
        assert model.patch_network is not None
        assert model.network is not None
        both = [sum(p.numel() for p in n.parameters()) / 1e6 for n in (model.network, model.patch_network)]
    assert both[0] == pytest.approx(57.95, abs=0.05)
    assert both[0] - both[1] == pytest.approx(33.75, abs=0.02)
    assert model.sampler().alpha == 0.3
    assert (model.sampler().size, model.cascade.contrast.half_width, model.wants().batch_size) == (64, 9, 8)
    configured = model.configure_optimizers()
    group, decay = configured["optimizer"].param_groups[0], configured["lr_scheduler"]
    assert (group["lr"], group["weight_decay"], decay.step_size, decay.gamma) == (1e-4, 1e-4, 11 * 50, 0.8)
    assert model.max_epochs == 11 * 400  # the public code's epochs show each image eleven times


def test_its_embeddings_choose_images_as_those_of_any_matcher_do() -> None:
    model = IGUAug(domains={"head": ["a"]}, **{name.removeprefix("model."): value for name, value in TINY.items()})
    assert model.embedder is not None
    assert [tuple(m.shape) for m in model.embedder(torch.rand(1, 1, 64, 64), 0)] == [
        (1, 4, 64 // stride, 64 // stride) for stride in model.embedder.strides
    ]


def test_a_shots_classes_and_landmarks_are_told_in_bits() -> None:
    model = IGUAug(radius=4, medium=1.0, high=3.0)
    image = torch.zeros(1, 1, 32, 64)
    image[..., 32:] = torch.rand(1, 1, 32, 32)
    points = torch.tensor([[[5.0, 5.0], [50.0, 16.0], [torch.nan, torch.nan]]])
    line = calibration(entropy_map(image, 4), points, model.sampler().borders)
    assert line.startswith("pixels of 4")
    assert line.endswith("bits, least 0.0")


def test_intensities_are_read_for_each_domain(tmp_path: Path) -> None:
    interval = {"brightness": [0.5, 2.0], "contrast": [0.4, 1.5]}
    content = {"domains": {"head": {"low": interval, "medium": interval, "high": interval}}}
    path = tmp_path / "augmentation.json"
    path.write_text(json.dumps(content))
    assert read_intervals(path, ["head"])["head"]["high"]["contrast"] == (0.4, 1.5)
    with pytest.raises(DataError, match=r"augmentation\.json: is no file of intensities for hand"):
        read_intervals(path, ["hand"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mi": "none"}, "--model.mi: expected joint, counts, got none"),
        ({"entropy": "resized"}, "--model.entropy: expected original, network, got resized"),
        ({"mi_side": 1}, "--model.mi_side: expected at least 2 pixels, got 1"),
        ({"medium": 5.0}, "0 < medium < high"),
        ({"stage": "stage1"}, "--model.stage: expected all, round1, round2, got stage1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IGUAug(**settings)


def test_whole_images_are_not_deformed_where_the_entropy_is_of_their_originals() -> None:
    model = IGUAug(domains={"head": ["a"]}, **{k.removeprefix("model."): v for k, v in TINY.items()}, augment=0.5)
    with pytest.raises(ConfigError, match=r"--model.augment: expected 0 .* got 0.5; give --model.entropy network"):
        model.setup("fit")
