from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing.contract import ModelContract
from medzoo.landmark.han.losses import at_stride, rounded_gaussian
from medzoo.landmark.han.module import HAN

NETWORK: dict[str, Any] = {
    "widths": [4, 4, 4, 8, 8],
    "attention_heads": [1, 1, 1, 2, 2],
    "windows": [2, 2, 2, 2],
    "topk": [1, 2, 2, 2],
    "mlp_ratios": [1, 1, 1, 1, 1],
    "neck": 4,
}
TINY: dict[str, Any] = {
    **{f"model.{name}": value for name, value in NETWORK.items()},
    "model.size": [64, 32],
    "model.batch": 4,
    "data.domains": ["head", "chest"],
    "data.n_train": 5,
    "data.n_test": 3,
    "data.image_size": 48,
}


class TestHAN(ModelContract):
    name: ClassVar[str] = "han"
    tiny: ClassVar[dict[str, Any]] = TINY


class TestHANAsPublished(ModelContract):
    name: ClassVar[str] = "han"
    tiny: ClassVar[dict[str, Any]] = {
        **TINY,
        "model.target": "msra",
        "model.decoder": "quarter",
        "model.norm": "group",
        "model.drop_path": 0.1,
        "model.batch": 1,
        "data.n_train": 3,
        "model.checkpointing": "true",
    }
    resumes: ClassVar[int | None] = 1
    no_gradient: ClassVar[tuple[str, ...]] = ("*.body.5.channel.*",)  # of four channels one unit is left, maybe closed


@pytest.mark.parametrize("heads", ["mean", "last"])
def test_points_are_the_mean_over_the_maps_or_those_of_the_last(heads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = HAN({"head": ["a"]}, size=(64, 32), heads=heads, **NETWORK)
    maps = [torch.zeros(1, 1, 64 // s, 32 // s) for s in (4, 2, 1)]
    places = [(2, 3), (20, 9), (40, 17)]  # rows and columns
    for heat, (y, x), height in zip(maps, places, (0.5, 1.5, 0.8), strict=True):
        heat[0, 0, y, x] = height
    monkeypatch.setattr(model, "maps", lambda image, domain: maps)
    points, score, _ = model(torch.zeros(1, 1, 64, 32), 0)
    found = [at_stride(torch.tensor([float(x), float(y)]), 1 / s) for (y, x), s in zip(places, (4, 2, 1), strict=True)]
    expected = torch.stack(found).mean(dim=0) if heads == "mean" else found[-1]
    torch.testing.assert_close(points[0, 0], expected)
    assert score.item() == pytest.approx((0.5 + 1.0 + 0.8) / 3 if heads == "mean" else 0.8)


def test_settings_that_do_not_fit_cost_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="expected five values each"):
        HAN(widths=(4, 4, 4, 4))
    with pytest.raises(ConfigError, match=r"attention_heads: expected divisors of \(4, 4, 4, 4, 6\)"):
        HAN(widths=(4, 4, 4, 4, 6), attention_heads=(1, 2, 4, 1, 4))
    run = ["fit", "--model", "han", "--data.n_train", "2", "--trainer.fast_dev_run", "true", "--quiet"]
    assert main([*run, "--model.size", "[48, 64]"]) == 2
    assert "--model.size: expected multiples of 32, got (48, 64)" in capsys.readouterr().err


def test_the_published_loss_weighs_the_maps_by_1000_3000_and_3000(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HAN({"head": ["a"]}, size=(64, 32), augment=0.0, **NETWORK)
    maps = [torch.full((1, 1, 64 // s, 32 // s), 0.1 * s) for s in (4, 2, 1)]
    monkeypatch.setattr(model, "maps", lambda image, domain: maps)
    monkeypatch.setattr(model, "log", lambda *values: None)
    points = torch.tensor([[[13.2, 40.9]]], dtype=torch.float64)
    identity = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]], dtype=torch.float64)
    batch = {"image": torch.zeros(1, 1, 64, 32), "landmarks": points, "affine": identity, "domain": torch.tensor([0])}
    expected = 0.0
    for heat, s, sigma, weight in zip(maps, (4, 2, 1), (2.0, 2.0, 4.0), (1000, 3000, 3000), strict=True):
        target = rounded_gaussian(at_stride(points.float(), s), (64 // s, 32 // s), sigma)
        expected += weight * (heat - target).square().mean().item()
    assert model.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_rate_rises_for_a_quarter_of_the_steps_and_falls_to_nothing() -> None:
    model = HAN({"head": ["a"]}, **NETWORK)
    model._trainer = SimpleNamespace(estimated_stepping_batches=400)  # type: ignore[assignment]
    configured = model.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(401):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    assert max(rates) == rates[100] == pytest.approx(4.5e-4)
    assert rates[50] == pytest.approx(2.25e-4)
    assert rates[250] == pytest.approx(2.25e-4, rel=0.02)
    assert rates[400] < 1e-7
