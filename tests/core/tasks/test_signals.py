"""The task of signals: figures, rows, kinds, and files in the record's own rate."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from medzoo.core.errors import DataError
from medzoo.core.sample import Batch, SignalSample, collate, misfit
from medzoo.core.tasks.signals import SignalEvaluation, SignalOutputs, in_own_rate, predictions, spans


def sample(name: str, label: int, kind: str) -> dict[str, object]:
    mask = torch.zeros(2, 250, dtype=torch.bool)
    mask[0, 100:150] = bool(label)
    return {
        "id": name, "path": "", "source": "ward", "domain": 0, "patient": name, "signal": torch.randn(2, 50),
        "rate": 100.0, "leads": ["I", "II"], "beats": torch.tensor([10, 30]), "start": 2.0, "original_rate": 500.0,
        "original_length": 250, "label": torch.tensor(label), "kind": kind, "mask": mask, "groups": {"sex": 1},
    }  # fmt: skip


def batch_of() -> tuple[Batch, SignalOutputs]:
    samples = [sample("a", 0, ""), sample("b", 1, "pvc"), sample("c", 1, "af"), sample("d", 0, "")]
    maps = torch.zeros(4, 2, 50)
    maps[1:3, 0, 20:30] = 1.0
    return collate(samples, SignalSample), SignalOutputs(torch.tensor([0.1, 0.9, 0.2, 0.3]), maps, 0.25)


def test_samples_fit_their_type_though_masks_are_longer_than_signals() -> None:
    batch, _ = batch_of()
    assert misfit(batch, SignalSample) is None
    assert batch["mask"][0].shape == (2, 250)


def test_figures_by_hand_for_any_batches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batch, outputs = batch_of()
    whole, parts = SignalEvaluation(), SignalEvaluation()
    whole.update(batch, outputs)
    for i in range(4):
        one = {key: value[i : i + 1] for key, value in batch.items()}
        parts.update(one, SignalOutputs(outputs.scores[i : i + 1], outputs.maps[i : i + 1], outputs.threshold))
    found = whole.compute()
    assert found == parts.compute()
    assert found["ward/record_auroc"] == pytest.approx(3 / 4)
    assert found["ward/sensitivity"] == pytest.approx(1 / 2)
    assert found["ward/specificity"] == pytest.approx(1 / 2)
    assert found["ward/point_auroc"] > 0.999
    whole.report(tmp_path)
    rows = list(csv.DictReader((tmp_path / "samples.csv").open()))
    assert [row["error"] for row in rows] == ["0", "0", "1", "1"]
    assert rows[0]["group_sex"] == "1"
    kinds = {row["kind"]: float(row["auroc"]) for row in csv.DictReader((tmp_path / "kinds.csv").open())}
    assert kinds == {"pvc": 1.0, "af": 0.5}
    assert (tmp_path / "figures" / "ward_0.png").is_file()


@pytest.mark.parametrize("lost", ["scores", "maps"])
def test_a_record_with_a_score_that_is_not_finite_is_no_normal_one(lost: str) -> None:
    batch, outputs = batch_of()
    getattr(outputs, lost)[2] = math.nan
    for judge in (SignalEvaluation().update, predictions):
        with pytest.raises(DataError, match="c: gets a score that is not finite"):
            judge(batch, outputs)


def test_without_a_threshold_no_record_is_called_normal() -> None:
    batch, outputs = batch_of()
    evaluation = SignalEvaluation()
    evaluation.update(batch, SignalOutputs(outputs.scores, outputs.maps))
    found = evaluation.compute()
    assert math.isnan(found["ward/sensitivity"])
    assert math.isnan(found["ward/specificity"])
    assert found["ward/record_auroc"] == pytest.approx(3 / 4)


def test_predictions_are_written_in_the_records_own_rate(tmp_path: Path) -> None:
    batch, outputs = batch_of()
    made = predictions(batch, outputs)
    assert [p.record["abnormal"] for p in made] == [False, True, False, True]
    assert made[1].record["beats"] == 2
    assert made[1].save is not None
    said = made[1].save(tmp_path)
    table = np.loadtxt(Path(str(said["scores"])), delimiter=",", skiprows=1)
    assert table.shape == (250, 3)
    np.testing.assert_allclose(table[:3, 0], [2.0, 2.002, 2.004])
    marked = table[table[:, 1] > 0.5, 0]
    assert marked.min() == pytest.approx(2.2, abs=0.01)
    assert marked.max() == pytest.approx(2.3, abs=0.01)
    assert Path(str(said["scores"])).with_suffix(".png").is_file()


def test_a_map_keeps_its_place_at_another_rate() -> None:
    heat = torch.zeros(1, 100)
    heat[0, 60] = 1
    assert int(in_own_rate(heat, 500).argmax()) == 300
    assert int(in_own_rate(heat, 50).argmax()) == 30
    time = np.arange(500) * 0.2
    np.testing.assert_allclose(in_own_rate(heat, 500)[0], np.interp(time, np.arange(100), heat[0]), atol=1e-5)


def test_marked_parts_close_to_each_other_are_one_span_with_its_leads() -> None:
    marked = torch.zeros(3, 1000, dtype=torch.bool)
    marked[0, 100:120] = marked[2, 125:130] = marked[1, 400:401] = True
    found = spans(marked, ["I", "II", "V1"], 2.0, 100.0)
    assert found == [
        {"start": 3.0, "end": 3.3, "leads": ["I", "V1"]},
        {"start": 6.0, "end": 6.01, "leads": ["II"]},
    ]
    assert spans(torch.zeros(2, 9, dtype=torch.bool), ["I", "II"], 0.0, 1.0) == []
