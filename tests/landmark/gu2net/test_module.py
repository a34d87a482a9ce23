from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from medzoo.core import create_datamodule, load_checkpoint
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_original
from medzoo.core.testing.contract import ModelContract
from medzoo.landmark.gu2net.module import GU2Net

TINY: dict[str, Any] = {
    "model.size": [32, 32],
    "model.width": 2,
    "model.global_width": 4,
    "model.batch": 4,
    "data.domains": ["head", "chest"],
    "data.n_train": 5,
    "data.n_test": 3,
    "data.image_size": 48,
}


class TestGU2Net(ModelContract):
    name: ClassVar[str] = "gu2net"
    tiny: ClassVar[dict[str, Any]] = TINY


class TestGU2NetAsPublished(ModelContract):
    name: ClassVar[str] = "gu2net"
    tiny: ClassVar[dict[str, Any]] = {
        **TINY,
        "model.target": "patch",
        "model.decoder": "argmax",
        "model.augment": 0,
        "model.schedule": "paper",
        "model.lr": 1e-4,
        "trainer.gradient_clip_val": "null",
    }


def test_the_papers_learning_rate_peaks_at_step_2000_and_half_as_high_at_6000() -> None:
    model = GU2Net({"head": ["a", "b"]}, width=2, global_width=2)
    configured = model.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = {}
    for step in range(6001):
        rates[step] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(1e-4)
    assert rates[2000] == pytest.approx(1e-2)
    assert rates[4000] == pytest.approx(1e-4)
    assert rates[6000] == pytest.approx(5.05e-3)


@pytest.mark.parametrize("target", ["patch", "gaussian", "softmax"])
def test_scores_are_shares_and_points_lie_in_the_image(target: Any) -> None:
    torch.manual_seed(0)
    model = GU2Net({"head": ["a", "b"]}, size=(48, 32), width=2, global_width=2, target=target).eval()
    with torch.no_grad():
        points, score, _ = model(torch.rand(3, 1, 48, 32), 0)
    assert points.shape == (3, 2, 2)
    assert ((points >= 0) & (points < torch.tensor([32, 48]))).all()
    assert ((score > 0) & (score < 1)).all()


def test_sizes_below_those_of_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="size: expected one number or"):
        GU2Net(size=(8, 512))


@pytest.mark.slow
def test_a_wrong_domain_costs_more_than_ten_times_the_error(workdir: Path) -> None:
    options = {"model.steps": "150", "data.domains": "[head,chest]", "data.n_train": "40", "run_dir": "run"}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    assert main(["fit", "--model", "gu2net", *flags, "--quiet", "--trainer.accelerator", "cpu"]) == 0
    model = load_checkpoint("run/checkpoints/last.ckpt").eval()
    size = model.hparams["size"]
    data = create_datamodule("landmark-phantoms", domains=["head", "chest"], n_test=10, size=size)
    data.setup("test")
    errors: dict[tuple[int, int], list[Tensor]] = {}
    for batch in data.test_dataloader():
        domain = int(batch["domain"][0])
        for told in range(2):
            with torch.no_grad():
                found = to_original(model(batch["image"], told)[0], batch["affine"])
            # Both know six landmarks or more; the first ones of the wrong domain stand for those asked for.
            away = (found[:, :6] - batch["landmarks"][:, :6]).norm(dim=2)
            errors.setdefault((domain, told), []).append(away.flatten())
    mean = {pair: torch.cat(each).mean().item() for pair, each in errors.items()}
    assert mean[0, 1] > 10 * mean[0, 0]
    assert mean[1, 0] > 10 * mean[1, 1]
