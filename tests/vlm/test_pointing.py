"""The pointing game in original pixels, beside a guess that looks at no image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from medzoo.vlm.carzero.module import CARZero
from medzoo.vlm.data.boxed import ChestXDet10
from medzoo.vlm.data.fakes import make_chestxdet10
from medzoo.vlm.data.phantoms import ReportPhantoms
from medzoo.vlm.pointing import Pointed, pointed, pointing
from medzoo.vlm.processor import Processor


def test_a_peak_is_found_again_in_the_original_whatever_was_padded_and_cut() -> None:
    processor, (width, height) = Processor((64, 64), "pad", 256 / 224), (300, 200)
    affine = processor.affine(width, height)
    batch: Any = {
        "id": ["a"], "source": ["set"], "image": torch.zeros(1, 1, 64, 64), "affine": torch.from_numpy(affine)[None],
        "original_size": torch.tensor([[width, height]]), "boxes": [{"mass": [(10.0, 20.0, 30.0, 40.0)]}],
    }  # fmt: skip
    maps = np.zeros((1, 2, 8, 8), np.float32)
    maps[0, 1, 2, 5] = 1
    (found,) = pointed(batch, maps, ("edema", "mass"))
    assert (found.label, found.size) == ("mass", (width, height))
    assert found.peak == pytest.approx(processor.peak(maps[0, 1], width, height))
    # The middle of cell (2, 5) is 43.5, 19.5 in the network's image, whose 64 pixels are 224 of 256 parts of 300.
    scale = 64 / 300 * 256 / 224
    assert found.peak == pytest.approx(((43.5 - 31.5) / scale + 149.5, (19.5 - 31.5) / scale + 99.5), abs=1e-3)


def test_hits_are_averaged_over_findings_and_a_guess_in_the_middle_stands_beside() -> None:
    size, left, right = (100.0, 100.0), (0.0, 0.0, 9.0, 9.0), (90.0, 0.0, 99.0, 9.0)
    found = [
        Pointed("set", "1", "a", (4.0, 4.0), (left,), size),
        Pointed("set", "2", "a", (4.0, 4.0), (right,), size),
        Pointed("set", "3", "a", (95.0, 4.0), (left, right), size),
        Pointed("set", "4", "b", (50.0, 50.0), ((0.0, 0.0, 99.0, 99.0),), size),
    ]
    figures = pointing(found)
    assert figures["pointing/a"] == pytest.approx(2 / 3)
    assert figures["pointing"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["pointing_micro"] == pytest.approx(3 / 4)
    assert figures["pointing_middle"] == pytest.approx(1 / 2)  # the middle of all boxes lies in none of a, in that of b
    assert pointing([]) == {}


def test_a_test_on_data_with_boxes_says_how_often_the_model_looks_there(tmp_path: Path) -> None:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    model = CARZero(
        backbone="test_efficientnet", size=32, stride=8, width=32, text_layers=2, words=32, layers=1, inner=32, batch=8
    )
    trainer.fit(model, datamodule=ReportPhantoms(train=16, val=4, test=4, pixels=32, captions="both"))
    boxed = ChestXDet10(str(make_chestxdet10(tmp_path / "set")))
    (figures,) = trainer.test(model, datamodule=boxed, verbose=False)
    assert {"set/pointing", "set/pointing/Mass", "set/pointing/Effusion", "set/pointing_middle"} <= set(figures)
    assert 0 <= figures["set/pointing"] <= 1
    assert figures["set/pointing_middle"] == 1  # all boxes of a finding are one
