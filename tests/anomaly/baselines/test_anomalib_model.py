from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from medzoo.anomaly.anomalib.module import AnomalibModel
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.core.errors import ConfigError
from medzoo.core.io import read_json

SMALL = {"backbone": "resnet18", "pre_trained": False}
needs_anomalib = pytest.mark.skipif(find_spec("anomalib") is None, reason="anomalib is not installed")


@pytest.mark.skipif(find_spec("anomalib") is not None, reason="anomalib is installed")
def test_without_anomalib_one_line_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'medzoo-anomaly\[anomalib\]'"):
        AnomalibModel()


@needs_anomalib
@pytest.mark.parametrize("detector", ["Padim", "Patchcore"])
def test_a_detector_of_anomalib_is_fitted_and_tested_on_our_images(detector: str) -> None:
    from lightning.pytorch import Trainer

    model = AnomalibModel(detector, SMALL, [64, 64])
    data = TexturePhantoms(train=6, test=8, pixels=64, test_categories=["gear"])
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, **quiet)
    trainer.fit(model, datamodule=data)
    metrics = trainer.test(model, datamodule=data, verbose=False)[0]
    assert {"gear/image_auroc", "gear/aupro", "gear/specificity"} <= set(metrics)
    assert model.thresholds["gear"] > 0


@needs_anomalib
@pytest.mark.parametrize("detector", ["Padim", "Patchcore"])
def test_scores_are_those_of_the_detector_before_scaling(detector: str) -> None:
    model = AnomalibModel(detector, SMALL, [64, 64]).eval()
    supports = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    fitted = model.reference(supports)
    scores, maps = model.score(fitted, supports + 0.3)
    raw = fitted.model(fitted.pre_processor(supports + 0.3))
    assert torch.equal(scores, raw.pred_score.flatten())  # one number an image
    assert torch.equal(maps, raw.anomaly_map.squeeze(1))
    assert scores.max() > 1  # never squeezed into [0, 1]


@needs_anomalib
def test_from_the_command_line_a_checkpoint_tells_the_figures_of_its_fit(workdir: Path) -> None:
    from medzoo.core.cli import main

    small = "--data.train 4 --data.test 4 --data.pixels 64 --data.test_categories [gear] --model.size [64,64]"
    assert not main(f"fit --model anomalib --model.detector Patchcore {small} --run_dir run --quiet".split())
    metrics = read_json(workdir / "run" / "results.json")["metrics"]
    assert {"gear/image_auroc", "gear/aupro", "gear/specificity"} <= set(metrics)
    assert not main(["test", "--ckpt_path", "run/checkpoints/last.ckpt", "--run_dir", "again", "--quiet"])
    assert read_json(workdir / "again" / "results.json")["metrics"] == metrics


@needs_anomalib
@pytest.mark.parametrize("detector", ["Stfpm", "NoSuch"])
def test_what_trains_by_gradient_or_does_not_exist_is_refused(detector: str) -> None:
    with pytest.raises(ConfigError, match=r"expected one of .*Padim"):
        AnomalibModel(detector)
    with pytest.raises(ConfigError, match="refuses"):
        AnomalibModel("Padim", {"no_such": 1})
