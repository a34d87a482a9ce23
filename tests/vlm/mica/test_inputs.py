"""MICA's images and labels as data have them: in colour, and of which somebody looked for a part only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from medzoo.vlm.data.phantoms import ReportPhantoms
from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.mica.labels import captioned
from medzoo.vlm.mica.module import MICA
from medzoo.vlm.zero_shot.classifier import ZeroShotClassifier

SMALL: dict[str, Any] = {
    "backbone": "test_efficientnet", "size": 32, "stride": 8, "width": 32, "text_layers": 2, "batch": 8, "lr": 0.002,
}  # fmt: skip


@pytest.fixture
def aligned() -> MICA:
    model = MICA(stage="align", **SMALL)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=ReportPhantoms(train=24, val=6, test=9, pixels=32))
    return model.eval()


def test_an_image_of_which_nobody_looked_for_concepts_teaches_nothing(
    aligned: MICA, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = aligned
    batch = next(iter(model.data.plain_dataloader("train")))
    batch["label"][0, :] = 0.0
    batch["label"][1:, :] = torch.nan
    monkeypatch.setattr(model, "log_dict", lambda *_: None)
    lone = {**batch, "image": batch["image"][:1], "label": batch["label"][:1]}
    with torch.no_grad():
        assert torch.equal(model.training_step(batch, 0), model.training_step(lone, 0))
        batch["label"][0, 0] = torch.nan
        assert model.training_step(batch, 0) == 0


def test_a_caption_is_given_where_something_is_there_or_all_was_looked_for() -> None:
    looked = torch.tensor([[0.0, 0.0], [1.0, torch.nan], [0.0, torch.nan], [torch.nan, torch.nan]])
    image, labels = captioned(ImageFeatures(torch.arange(4)[:, None], torch.zeros(4, 2, 1), (1, 2)), looked)
    assert (image.globals[:, 0].tolist(), len(image.tokens), len(labels)) == ([0, 1], 2, 2)


def test_a_model_of_colour_images_is_asked_in_colour(aligned: MICA, tmp_path: Path) -> None:
    model = aligned
    red, green = (np.zeros((40, 30, 3), np.uint8) for _ in range(2))
    red[5:20, 5:20, 0], green[5:20, 5:20, 1] = 255, 255
    for name, pixels in (("red", red), ("green", green)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    paths = [str(tmp_path / "red.png"), str(tmp_path / "green.png")]
    found = {}
    for channels in (1, 3):
        model.hparams["channels"] = channels
        found[channels] = ZeroShotClassifier(model, ["emphysema"]).predict(paths, maps=True)
    model.hparams["channels"] = 1
    image = torch.from_numpy(model.processor(np.moveaxis(red, 2, 0).astype(np.float32) / 255))[None]
    with torch.no_grad():
        wanted = model.similarity(model.encode_image(image), model.encode_text(["emphysema"]))
    assert found[3][0].logits["emphysema"] == pytest.approx(wanted.item(), abs=1e-5)
    assert found[3][0].logits != found[1][0].logits
    assert found[3][1].maps["emphysema"].shape == (40, 30)
