"""What makes MCF the method it is: sizes, trend, exchange between record and beat, masks, scores in place."""

from __future__ import annotations

import pytest
import torch

from medzoo.anomaly.mcf.module import MCF
from medzoo.anomaly.restoration.losses import fixed_masks as masks_of
from medzoo.anomaly.restoration.losses import (
    min_max,
    normalised,
    random_patches,
    random_run,
    restoration_loss,
    smoothed,
    trend_of,
)
from medzoo.anomaly.restoration.network import CrossRestoration
from medzoo.anomaly.restoration.scoring import windows
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch

SMALL = {"leads": 2, "rate": 100.0, "length": 320, "beat": 96, "widths": [4, 4, 4, 4, 4], "hidden": 6, "tail": 3}


def small() -> CrossRestoration:
    torch.manual_seed(0)
    return CrossRestoration(2, 320, 96, (4, 4, 4, 4, 4), 6, 3)


def batch(count: int = 3, beats: int = 2) -> Batch:
    torch.manual_seed(1)
    return {
        "id": [str(i) for i in range(count)], "path": [""] * count, "signal": torch.randn(count, 2, 320),
        "beats": [torch.tensor([60, 200][:beats]) for _ in range(count)],
    }  # fmt: skip


@pytest.mark.parametrize("leads", [1, 4, 12])
def test_sizes_are_those_of_the_paper_for_any_number_of_leads(leads: int) -> None:
    net = CrossRestoration(leads).eval()
    assert net.tokens == (136, 1)
    assert leads != 12 or sum(p.numel() for p in net.parameters()) == 7_085_779
    with torch.no_grad():
        made = net(torch.randn(1, leads, 4800), torch.randn(1, leads, 480), torch.randn(1, leads, 4800))
    assert made.signal.shape == made.trend.shape == (1, leads, 4800)
    assert made.beat.shape == (1, leads, 480)
    assert made.signal_spread.shape == (1, 1, 4800)
    assert all(part.abs().max() <= 1 for part in made[:5])


def test_each_scale_restores_with_the_help_of_the_other() -> None:
    net = small()
    record, beat, trend = torch.randn(2, 2, 320), torch.randn(2, 2, 96), torch.randn(2, 2, 320)
    made = net(record, beat, trend)
    for part, other in ((made.beat, net.record_encoder), (made.signal, net.beat_encoder)):
        grads = torch.autograd.grad(part.square().sum(), list(other.parameters()), retain_graph=True)
        assert max(float(grad.abs().max()) for grad in grads) > 0
    alone = net.beat_decoder(net.beat_encoder(beat)).square().sum()
    grads_alone = torch.autograd.grad(alone, list(net.record_encoder.parameters()), allow_unused=True)
    assert all(grad is None for grad in grads_alone)


def test_trends() -> None:
    ramp = torch.linspace(0, 5, 200).expand(1, 2, 200).clone()
    constant = torch.ones(1, 2, 200)
    assert trend_of(constant, 10).unique().numel() == 1
    slope = trend_of(ramp, 10)
    assert slope.shape == ramp.shape
    assert float(slope[..., 6:-6].std()) < 1e-4
    noisy = torch.randn(1, 2, 200)
    torch.testing.assert_close(trend_of(noisy + 3, 10), trend_of(noisy, 10), atol=1e-4, rtol=0)


def test_masks_of_a_test_hide_nine_tenths_in_three_passes() -> None:
    whole, part = masks_of(4800, 480)
    assert (1 - whole).sum((1, 2)).tolist() == [1440.0] * 3
    assert float((whole.amin(0) == 0).float().mean()) == pytest.approx(0.9)
    hidden = (part.amin(0) == 0)[0].nonzero().flatten()
    assert (int(hidden.min()), int(hidden.max())) == (20, 219)


def test_masks_of_a_training_hide_their_share_of_each_sample() -> None:
    torch.manual_seed(0)
    seen = random_patches(torch.ones(4, 1, 4800), 0.3)
    assert (seen == 0).sum((1, 2)).tolist() == [1440] * 4
    assert not torch.equal(seen[0], seen[1])
    torch.manual_seed(0)
    order = torch.rand(4, 100).argsort(1)
    assert torch.equal(seen[:, 0] == 0, (order < 30).repeat_interleave(48, 1))
    rest = random_patches(torch.ones(4, 1, 960), 0.3)  # 100 patches of 9 samples
    assert (rest == 0).sum((1, 2)).tolist() == [270] * 4
    assert rest[..., 900:].all()
    run = random_run(torch.ones(50, 1, 480), 0.3)
    assert (run == 0).sum((1, 2)).tolist() == [144] * 50
    assert ((run.diff(dim=-1) != 0).sum((1, 2)) == 2).all()


def test_norms() -> None:
    signal = torch.randn(2, 3, 400)
    signal[0, 1] = 0.7  # a lead that is off
    lead = normalised(signal, "lead")
    assert not lead[0, 1].any()
    torch.testing.assert_close(normalised(5 * signal + 2, "lead"), lead, atol=1e-5, rtol=0)
    assert not torch.allclose(normalised(2 * signal, "millivolts"), normalised(signal, "millivolts"))
    assert normalised(signal, "robust").abs().max() <= 1
    assert min_max(torch.zeros(1, 4)).eq(0).all()


def test_the_loss_falls_to_minus_one_where_errors_are_small() -> None:
    target = torch.zeros(1, 2, 10)
    assert float(restoration_loss(target + 0.01, target, torch.full((1, 1, 10), -1.0))) == pytest.approx(-1, abs=1e-3)
    assert float(restoration_loss(target + 2, target, torch.full((1, 1, 10), -1.0))) > 5


def test_scores_do_not_depend_on_the_batch_and_repeat() -> None:
    model = MCF(**SMALL).eval()
    whole = batch()
    one = {key: value[1:2] for key, value in whole.items()}
    first, again, alone = (model.outputs(each) for each in (whole, whole, one))
    assert torch.equal(first.scores, again.scores)
    torch.testing.assert_close(first.scores[1:2], alone.scores)
    torch.testing.assert_close(first.maps[1:2], alone.maps)
    assert first.maps.shape == (3, 2, 320)


def test_a_record_without_a_whole_beat_is_still_scored() -> None:
    model = MCF(**SMALL).eval()
    found = model.outputs(batch(beats=0))
    assert found.scores.isfinite().all()
    assert windows(torch.tensor([5, 100, 318]), 320, 96).tolist() == [72]


def test_a_record_without_a_whole_beat_scores_no_lower_for_it() -> None:
    """Its score is held against a threshold of records with beats: the middle stands for one."""
    model, middle = MCF(**SMALL).eval(), (320 - 96) // 2 + 28
    none, one = batch(beats=0), {**batch(), "beats": [torch.tensor([middle])] * 3}
    torch.testing.assert_close(model.outputs(none).scores, model.outputs(one).scores)


def test_a_record_of_fewer_samples_than_patches_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--model.length: expected at least 100"):
        MCF(**{**SMALL, "length": 96, "beat": 96})


def test_a_disturbance_raises_the_map_at_its_place() -> None:
    model = MCF(**{**SMALL, "norm": "millivolts"}).eval()
    plain = batch(1)
    plain["signal"] = 0.05 * plain["signal"]
    spoiled = {**plain, "signal": plain["signal"].clone()}
    spoiled["signal"][0, 1, 150:160] += 2.5
    difference = model.outputs(spoiled).maps - model.outputs(plain).maps
    assert abs(int(difference[0, 1].argmax()) - 155) <= 6
    assert difference[0, 1].max() > 5 * difference[0, 0].abs().max()


def test_smoothing_keeps_constants_and_spreads_peaks() -> None:
    torch.testing.assert_close(smoothed(torch.ones(2, 50), 3.0), torch.ones(2, 50))
    peak = torch.zeros(1, 51)
    peak[0, 25] = 1
    assert int(smoothed(peak, 3.0).argmax()) == 25
    assert float(smoothed(peak, 3.0).max()) < 0.2


@pytest.mark.parametrize(
    ("options", "said"),
    [({"length": 330}, "multiples of 32"), ({"tail": 4}, "multiples of 32"), ({"norm": "none"}, "model.norm"),
     ({"masked": 1.0}, "model.masked"), ({"beat": 640}, "no longer than the record")],
)  # fmt: skip
def test_wrong_settings_cost_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        MCF(**{**SMALL, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_records_of_another_shape_are_refused() -> None:
    other = batch()
    other["signal"] = torch.randn(3, 3, 320)
    with pytest.raises(ConfigError, match="made for 2 leads of 320 samples, got 3 × 320"):
        MCF(**SMALL).eval().outputs(other)  # type: ignore[arg-type]
