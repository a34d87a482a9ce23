"""Figures of lengths, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from medzoo.landmark.echo.measures import MEASURES, agreement, line_errors, measured, segment_errors
from medzoo.landmark.echo.task import EchoEvaluation, EchoOutputs

NAN = math.nan


def test_agreement_by_hand_leaves_out_what_is_unknown() -> None:
    """The public code would count the unknown one as 0: a mean of 1.5 instead of 2."""
    found = agreement(torch.tensor([11.0, 17.0, 30.0, NAN]), torch.tensor([10.0, 20.0, NAN, 5.0]))
    assert found == {
        "n": 2,
        "mae": 2.0,
        "mape": pytest.approx(12.5),
        "bias": -1.0,
        "loa": pytest.approx(1.96 * math.sqrt(8)),
    }
    assert math.isnan(agreement(torch.tensor([NAN]), torch.tensor([1.0]))["mae"])


def test_lengths_are_scaled_before_the_norm_is_taken() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 2.0], [3.0, 4.0], [3.0, 5.0]])
    spacing = torch.tensor([1.0, 2.0])
    moved = points + torch.tensor([0.0, 1.0])
    lengths, truth, ends = segment_errors(moved, points, spacing)
    assert lengths.tolist() == pytest.approx([5.0, 4.0, 2.0])
    assert truth.tolist() == lengths.tolist()
    assert ends.tolist() == [2.0, 2.0, 2.0]


def test_lengths_have_the_names_of_their_phases() -> None:
    named = measured(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]), ["s", "d", "d"])
    assert named == {"IVSs": 1, "LVIDs": 2, "LVPWs": 3, "IVSd": 4, "LVIDd": 5, "LVPWd": 6}
    assert set(named) == set(MEASURES)


def test_the_evaluation_is_in_original_millimetres_and_counts_what_it_knows() -> None:
    """A clip shown at half its size; a lost point and a missing label take only their segments away."""
    truth = torch.tensor([[[10.0, 10.0], [10.0, 20.0], [10.0, 60.0], [10.0, NAN]]])
    affine = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]], dtype=torch.float64)
    batch = {
        "id": ["a"], "path": [""], "source": ["plax"], "patient": [""], "keys": [torch.tensor([3])], "phases": [["d"]],
        "affine": affine, "spacing": torch.tensor([[0.4, 0.5]]), "landmarks": [truth],
    }  # fmt: skip
    points = torch.tensor([[[5.0, 5.0], [5.0, 11.0], [5.0, 30.0], [5.0, 33.0]]])
    evaluation = EchoEvaluation()
    evaluation.update(batch, EchoOutputs(points, torch.zeros(1, 4), points[:, [0, 3]]))
    found = evaluation.compute()
    assert found["plax/IVSd_mae_mm"] == pytest.approx(1.0)
    assert found["plax/LVIDd_bias_mm"] == pytest.approx(-1.0)
    assert found["plax/LVIDd_mce_mm"] == pytest.approx(0.5)
    assert "plax/LVPWd_mae_mm" not in found
    assert found["plax/mae_mm"] == pytest.approx(1.0)
    assert evaluation.rows()[0]["error"] == pytest.approx(1.0)


def test_line_errors_are_of_the_body_not_of_pixels() -> None:
    """A line at 45° in mm past the middle of the cavity at 3 / √2 mm; in pixels its angle would be another."""
    spacing = torch.tensor([0.5, 1.0], dtype=torch.float64)
    points = torch.tensor([[[0.0, 0.0], [0.0, 10.0], [0.0, 30.0], [0.0, 40.0]]], dtype=torch.float64)
    lines = torch.tensor([[[6.0, 20.0], [46.0, 40.0]]], dtype=torch.float64)
    found = line_errors(lines, points, spacing)
    assert float(found["angle_deg"]) == pytest.approx(45)
    assert float(found["level_mm"]) == pytest.approx(3 / math.sqrt(2))
    assert float(line_errors(lines.flip(1), points, spacing)["angle_deg"]) == pytest.approx(45)
    assert bool(line_errors(lines * NAN, points, spacing)["angle_deg"].isnan())
