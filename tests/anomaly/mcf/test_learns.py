"""What a short training of MCF on normal records must lead to: small losses, and maps that show where a beat is odd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.anomaly.mcf.module import MCF
from medzoo.anomaly.restoration.network import Restored
from medzoo.anomaly.signals.leads import STANDARD
from medzoo.anomaly.signals.module import Item, SignalDataset
from medzoo.anomaly.signals.phantoms import phantom_item
from medzoo.core.sample import Batch, SignalSample, collate

QUICK = {
    "rate": 100.0, "length": 960, "beat": 96, "widths": [16, 16, 32, 32, 64], "hidden": 16, "tail": 3, "beats": 0,
}  # fmt: skip


def records(first: int, count: int, kind: str = "") -> Batch:
    items: list[Item] = [phantom_item(first + i, kind, 1.0) for i in range(count)]
    data = SignalDataset(items, STANDARD, 100.0, 960, (0.5, 40.0), 64)
    return collate([data[i] for i in range(count)], SignalSample)


@pytest.fixture(scope="module")
def learnt() -> tuple[MCF, list[float]]:
    """A model after 150 steps on 32 normal records, and its losses."""
    torch.manual_seed(0)
    model, whole, losses = MCF(**QUICK), records(0, 32), []  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(150):
        chosen = torch.randperm(32)[:16].tolist()
        batch = {"signal": whole["signal"][chosen], "beats": [whole["beats"][i] for i in chosen]}
        loss = torch.stack(list(model.restored(batch)[1].values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return model.eval(), losses


def test_the_loss_is_soon_below_minus_one_and_a_half_and_never_below_minus_two(
    learnt: tuple[MCF, list[float]],
) -> None:
    """With log variances of −1 to 1 each of the two terms has its least value at −1."""
    _, losses = learnt
    assert losses[0] > 0
    assert -2 < np.mean(losses[-10:]) < -1.5


def test_restoring_nothing_costs_more(learnt: tuple[MCF, list[float]], monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = learnt
    normal = records(500, 6)
    with torch.no_grad():
        restored = model.outputs(normal).scores
        whole = model.net.restore

        def nothing(*tokens: torch.Tensor) -> Restored:
            made = whole(*tokens)
            return made._replace(signal=0 * made.signal, beat=0 * made.beat, trend=0 * made.trend)

        monkeypatch.setattr(model.net, "restore", nothing)
        assert (model.outputs(normal).scores > 1.5 * restored).all()


def test_the_map_is_largest_at_an_ectopic_beat(learnt: tuple[MCF, list[float]]) -> None:
    """In four of five records within 150 ms of it, which is less than a fifth of the record."""
    model, _ = learnt
    odd = records(700, 20, "pvc")
    with torch.no_grad():
        maps = model.outputs(odd).maps
    near = []
    for heat, mask in zip(maps, odd["mask"], strict=True):
        at = (int(heat.amax(0).argmax())) / 100
        marked = mask.any(0).nonzero()[:, 0] / 500
        near.append(float((marked - at).abs().min()) <= 0.15)
    assert np.mean(near) >= 0.8
