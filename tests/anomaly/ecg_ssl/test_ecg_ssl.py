"""What makes SSL-AD the method it is: the printout and back, attributes as targets that may be missing."""

from __future__ import annotations

import math

import pytest
import torch

from medzoo.anomaly.ecg_ssl.module import EcgSSL
from medzoo.anomaly.restoration.attributes import AttributeHead, attribute_loss, attributes
from medzoo.anomaly.restoration.printout import ROWS, printout, unprinted
from medzoo.anomaly.signals.leads import STANDARD
from medzoo.core.sample import Batch

SMALL = {"rate": 100.0, "length": 320, "beat": 96, "widths": [4, 4, 4, 4, 4], "hidden": 6, "tail": 3, "head": [8]}


def small(**options: object) -> EcgSSL:
    torch.manual_seed(0)
    return EcgSSL(**{**SMALL, **options})


def batch(count: int = 3) -> Batch:
    torch.manual_seed(1)
    return {
        "id": [str(i) for i in range(count)], "path": [""] * count, "signal": torch.randn(count, 12, 320),
        "beats": [torch.tensor([60, 130, 200]) for _ in range(count)],
        "age": torch.tensor([40.0, math.nan, 80.0])[:count], "sex": torch.tensor([0.0, 1.0, math.nan])[:count],
    }  # fmt: skip


def test_the_paper_has_an_encoder_of_four_rows_and_a_head_of_18_7_million() -> None:
    with torch.device("meta"):
        head = AttributeHead(13_600, (1360, 136), 7)
        model = EcgSSL(widths=[32, 64, 128, 256, 512])
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 2) == 18.68
    assert model.net.record_encoder[0].in_channels == 4
    assert model.head[1].in_features == 13_600


def test_a_printout_shows_each_lead_in_its_quarter_and_can_be_taken_apart() -> None:
    signal = torch.randn(2, 12, 320)
    shown = printout(signal)
    assert shown.shape == (2, 4, 320)
    assert torch.equal(shown[:, 3], signal[:, 1])
    back = unprinted(shown[0])
    for leads in ROWS:
        for k, lead in enumerate(leads):
            part = slice(80 * k, 80 * (k + 1))
            assert torch.equal(back[lead, part], signal[0, lead, part])
    assert torch.equal(back[1], signal[0, 1])  # the strip
    assert torch.equal(back[0, 80:], shown[0].mean(0)[80:])  # not shown


def test_a_printout_asks_for_the_standard_order_whatever_that_of_the_data() -> None:
    assert small().wants().leads == STANDARD
    assert small(printout=False).wants().leads == ()


def test_attributes_are_scaled_and_unknown_where_they_are() -> None:
    age, sex = torch.tensor([300.0, 40.0]), torch.tensor([1.0, math.nan])
    found = attributes(age, sex, [torch.tensor([0, 80, 160, 240]), torch.tensor([5])], 100.0)
    assert found[0].tolist() == pytest.approx([1.5, 1.0, 1 / 3])  # 90 years, 75 a minute
    assert float(found[1, 0]) == -1.0
    assert found[1, 1:].isnan().all()


def test_a_missing_attribute_takes_no_part_in_the_loss() -> None:
    found = torch.tensor([[1.0, 7.0, 2.0]], requires_grad=True)
    loss = attribute_loss(found, torch.tensor([[0.0, math.nan, 0.0]]))
    assert loss.item() == pytest.approx(2.5)
    (gradient,) = torch.autograd.grad(loss, found)
    assert gradient[0, 1] == 0
    assert float(attribute_loss(found, torch.full((1, 3), math.nan))) == 0


def test_attributes_teach_the_encoders_of_record_and_trend_and_the_beat_by_the_exchange_alone() -> None:
    net = small().net
    head = AttributeHead(2 * 6 * net.tokens[0], (8,), 3)
    record, beat = torch.randn(2, 4, 320), torch.randn(2, 4, 96)
    made = net(record, beat, torch.randn(2, 4, 320))
    loss = attribute_loss(head(made.tokens), torch.ones(2, 3))
    for encoder in (net.record_encoder, net.trend_encoder, net.beat_encoder):
        grads = torch.autograd.grad(loss, list(encoder.parameters()), retain_graph=True)
        assert max(float(grad.abs().max()) for grad in grads) > 0
    alone = torch.cat([net.record_encoder(record), net.trend_encoder(record)], dim=1)
    own = torch.autograd.grad(head(alone).sum(), list(net.beat_encoder.parameters()), allow_unused=True)
    assert all(grad is None for grad in own)


def test_attributes_are_targets_and_never_inputs() -> None:
    model, whole = small().eval(), batch()
    first = model.outputs(whole)
    other = model.outputs({**whole, "age": torch.full((3,), 20.0), "sex": torch.zeros(3)})
    assert torch.equal(first.scores, other.scores)
    assert first.maps.shape == (3, 12, 320)


def test_what_is_not_printed_cannot_change_the_score() -> None:
    model, whole = small().eval(), batch(1)
    hidden = {**whole, "signal": whole["signal"].clone()}
    hidden["signal"][0, 6, :80] = 9.0  # V1 is shown in the third quarter
    assert torch.equal(model.outputs(whole).scores, model.outputs(hidden).scores)
    every = small(printout=False).eval()
    assert not torch.equal(every.outputs(whole).scores, every.outputs(hidden).scores)


def learnt(shuffle: bool) -> float:
    """Correlation of what the head reads on records that no training saw."""
    torch.manual_seed(0)
    model = small(lr=3e-3)
    count = 96
    age = 30 + 60 * torch.rand(2 * count)
    time = torch.arange(320) / 320
    heights = (age - 60) / 30
    signal = 0.3 * torch.randn(2 * count, 12, 320) + heights[:, None, None] * torch.sin(40 * time)
    given = age[:count][torch.randperm(count)] if shuffle else age[:count]
    beats = [torch.tensor([60, 130, 200])] * count
    sex = torch.full((count,), math.nan)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    def read(records: torch.Tensor) -> torch.Tensor:
        shown = model.shown(records)
        return model.head(model.net(shown, shown[..., :96], shown).tokens)

    known = attributes(given, sex, beats, 100.0)
    for _ in range(60):
        optimizer.zero_grad()
        attribute_loss(read(signal[:count]), known).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        found = read(signal[count:])[:, 0]
    return float(torch.corrcoef(torch.stack([found, age[count:]]))[0, 1])


def test_attributes_of_others_teach_nothing() -> None:
    assert learnt(shuffle=False) > 0.9
    assert abs(learnt(shuffle=True)) < 0.6
