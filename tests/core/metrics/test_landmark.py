from __future__ import annotations

import copy
import math
import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from medzoo.core.metrics import LandmarkMetrics, landmark_scores, radial_errors, score_spearman
from medzoo.core.metrics.landmark import bootstrap_interval

RADII = (2.0, 2.5, 3.0, 4.0)


def case(n: int, k: int, seed: int = 0, missing: float = 0.1, hidden: float = 0.1) -> dict[str, Tensor]:
    """Return predictions for `n` images of `k` points with anisotropic scales, missing and hidden points."""
    rng = torch.Generator().manual_seed(seed)
    target = torch.rand(n, k, 2, generator=rng) * 500
    pred = target + torch.randn(n, k, 2, generator=rng) * 15
    pred[torch.rand(n, k, generator=rng) < missing] = torch.nan
    visible = torch.rand(n, k, generator=rng) >= hidden
    target[~visible] = torch.nan
    return {"pred": pred, "target": target, "visible": visible, "scale": 0.05 + 0.2 * torch.rand(n, 2, generator=rng)}


def measured(data: dict[str, Tensor], splits: list[int] | None = None, **options: object) -> LandmarkMetrics:
    metric = LandmarkMetrics(RADII, **options)  # type: ignore[arg-type]
    parts = {key: value.split(splits or [len(value)]) for key, value in data.items()}
    for batch in zip(*parts.values(), strict=True):
        metric.update(**dict(zip(parts, batch, strict=True)))
    return metric


def simple(errors: list[list[float]], scale: float = 1.0) -> dict[str, Tensor]:
    """Return data whose errors, in units of `scale`, are the given ones."""
    offset = torch.tensor(errors)
    pred = torch.stack([offset, torch.zeros_like(offset)], dim=-1)
    n, k = offset.shape
    return {
        "pred": pred,
        "target": torch.zeros(n, k, 2),
        "visible": torch.ones(n, k, dtype=torch.bool),
        "scale": torch.full((n, 2), scale),
    }


def test_a_case_worked_out_by_hand() -> None:
    data = {
        # Errors in mm: 3-4-5 triangle of 1 mm pixels → 5; missing; hidden; then 0.5·4 = 2 in x, 2·1 = 2 in y, 0.
        "pred": torch.tensor([[[13.0, 14], [math.nan, 0], [5, 5]], [[4.0, 0], [10, 11], [7, 7]]]),
        "target": torch.tensor([[[10.0, 10], [0, 0], [0, 0]], [[0.0, 0], [10, 10], [7, 7]]]),
        "visible": torch.tensor([[True, True, False], [True, True, True]]),
        "scale": torch.tensor([[1.0, 1.0], [0.5, 2.0]]),
    }
    metric = measured(data, names=("a", "b", "c"))
    scores = {name: float(value) for name, value in metric.compute().items()}
    assert scores["mre_mm"] == pytest.approx(9 / 4)
    assert scores["std_mm"] == pytest.approx(math.sqrt((5**2 + 2**2 + 2**2) / 4 - (9 / 4) ** 2))
    assert scores["median_mm"] == 2  # of 0, 2, 2, 5 and one that was not found
    assert scores["sdr_2"] == pytest.approx(100 * 3 / 5)
    assert scores["sdr_4"] == pytest.approx(100 * 3 / 5)
    assert scores["missing"] == 1
    assert list(scores) == [
        "mre_mm", "std_mm", "median_mm",
        "sdr_2", "sdr_2.5", "sdr_3", "sdr_4", "missing", "mre_mm_low", "mre_mm_high",
    ]  # fmt: skip
    table = metric.per_landmark()
    torch.testing.assert_close(table["mre_mm"], torch.tensor([3.5, 2.0, 0.0]))
    torch.testing.assert_close(table["std_mm"], torch.tensor([1.5, 0.0, 0.0]))
    torch.testing.assert_close(table["median_mm"], torch.tensor([3.5, torch.inf, 0.0]))
    torch.testing.assert_close(table["sdr_2"], torch.tensor([50.0, 50.0, 100.0]))
    assert table["visible"].tolist() == [2, 2, 1]
    assert table["missing"].tolist() == [0, 1, 0]
    errors = metric.errors()
    torch.testing.assert_close(errors, torch.tensor([[5, torch.inf, torch.nan], [2, 2, 0]]), equal_nan=True)


def test_scores_agree_with_a_plain_loop() -> None:
    data = case(23, 11)
    pool, visible, missing = [], 0, 0
    for i in range(23):
        for k in range(11):
            if not data["visible"][i, k]:
                continue
            visible += 1
            pred, target = data["pred"][i, k].double().numpy(), data["target"][i, k].double().numpy()
            if np.isnan(pred).any():
                missing += 1
                continue
            pool.append(np.hypot(*((pred - target) * data["scale"][i].double().numpy())))
    scores = measured(data).compute()
    assert float(scores["mre_mm"]) == pytest.approx(np.mean(pool), rel=1e-6)
    assert float(scores["std_mm"]) == pytest.approx(np.std(pool), rel=1e-6)
    assert float(scores["median_mm"]) == pytest.approx(np.median([*pool, *[math.inf] * missing]), rel=1e-6)
    assert float(scores["missing"]) == missing
    for radius in RADII:
        expected = 100 * sum(error <= radius for error in pool) / visible
        assert float(scores[f"sdr_{radius:g}"]) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 5), st.data())
def test_value_does_not_depend_on_order_or_batch_size(seed: int, n: int, k: int, draw: st.DataObject) -> None:
    data = case(n, k, seed)
    order = draw.draw(st.permutations(range(n)))
    splits: list[int] = []
    while sum(splits) < n:
        splits.append(draw.draw(st.integers(1, n - sum(splits))))
    whole = measured(data).compute()
    shuffled = measured({key: value[list(order)] for key, value in data.items()}, splits).compute()
    for name, value in whole.items():
        torch.testing.assert_close(shuffled[name], value, rtol=1e-6, atol=0, equal_nan=True)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_errors_scale_with_spacing_and_rates_with_the_radii(seed: int, factor: float) -> None:
    data = case(6, 4, seed)
    before = landmark_scores(radial_errors(**data), RADII)
    grown = landmark_scores(radial_errors(**{**data, "scale": data["scale"] * factor}), [r * factor for r in RADII])
    for old, new in zip(before.items(), grown.items(), strict=True):
        expected = old[1] * (factor if old[0].startswith(("mre", "std", "median")) else 1)
        torch.testing.assert_close(new[1], expected, rtol=2e-5, atol=0, equal_nan=True)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(0.1, 10), min_size=2, max_size=6, unique_by=lambda r: f"{r:g}"))
def test_success_rate_grows_with_the_radius_and_stays_a_percentage(seed: int, radii: list[float]) -> None:
    scores = landmark_scores(radial_errors(**case(5, 4, seed)), sorted(radii))
    rates = [float(value) for name, value in scores.items() if name.startswith("sdr_")]
    assert len(rates) == len(radii)
    assert all(0 <= low <= high <= 100 for low, high in pairwise(rates))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_duplicating_the_data_changes_only_the_interval_and_the_count(seed: int) -> None:
    data = case(5, 4, seed)
    once = measured(data).compute()
    twice = measured({key: torch.cat([value, value]) for key, value in data.items()}).compute()
    for name in ("mre_mm", "std_mm", "median_mm", *(f"sdr_{radius:g}" for radius in RADII)):
        torch.testing.assert_close(twice[name], once[name], rtol=1e-6, atol=0, equal_nan=True)
    assert twice["missing"] == 2 * once["missing"]


def test_perfect_prediction_has_the_best_values() -> None:
    data = case(4, 3, missing=0)
    scores = measured({**data, "pred": data["target"]}).compute()
    assert scores["mre_mm"] == scores["std_mm"] == scores["missing"] == scores["mre_mm_high"] == 0
    assert all(scores[f"sdr_{radius:g}"] == 100 for radius in RADII)


# The traps that published code has fallen into: each value differs under the wrong rule.


def test_trap_points_exactly_at_the_radius_are_found_unless_asked_otherwise() -> None:
    data = simple([[20.0, 19.0, 25.0, 12.0]], scale=0.1)
    data["pred"][0, 3] = torch.tensor([12.0, 16.0])  # 1.2² + 1.6² = 2², which float32 does not hit exactly
    assert measured(data).compute()["sdr_2"] == 75
    assert measured(data).compute()["sdr_2.5"] == 100
    assert measured(data, inclusive=False).compute()["sdr_2"] == 25
    assert measured(data, inclusive=False).compute()["sdr_2.5"] == 75
    exact = radial_errors(**data)  # float64, where 20 · float32(0.1) is more than 2
    assert (exact[0, [0, 3]] != 2).all()
    assert landmark_scores(exact, RADII)["sdr_2"] == 75
    assert landmark_scores(exact, RADII, inclusive=False)["sdr_2"] == 25


def test_trap_one_factor_for_both_axes_of_anisotropic_pixels() -> None:
    data = {**simple([[10.0]]), "scale": torch.tensor([[0.2, 0.1]])}
    assert measured(data).compute()["mre_mm"] == pytest.approx(2.0)
    data["pred"] = data["pred"].flip(-1)  # the same error along y
    assert measured(data).compute()["mre_mm"] == pytest.approx(1.0)


def test_trap_each_image_has_its_own_scale() -> None:
    data = {**simple([[10.0], [10.0]]), "scale": torch.tensor([[0.1, 0.1], [0.3, 0.3]])}
    assert measured(data).compute()["mre_mm"] == pytest.approx(2.0)
    assert measured(data).compute()["std_mm"] == pytest.approx(1.0)


def test_trap_coordinates_are_never_rounded() -> None:
    data = simple([[0.4, 0.3]])
    assert measured(data).compute()["mre_mm"] == pytest.approx(0.35)
    data["target"][..., 1] = 0.49
    assert measured(data).compute()["mre_mm"] > 0.5


def test_trap_deviation_is_that_of_the_pool_not_of_the_means_of_images() -> None:
    scores = measured(simple([[0.0, 4.0], [1.0, 5.0]])).compute()
    pooled, of_means, sample = math.sqrt(17 / 4), 0.5, math.sqrt(17 / 3)
    assert float(scores["std_mm"]) == pytest.approx(pooled)
    assert float(scores["std_mm"]) not in (pytest.approx(of_means), pytest.approx(sample))


def test_trap_mean_is_over_points_not_over_images_or_landmarks() -> None:
    data = simple([[1.0, 1.0, 1.0], [5.0, 0.0, 0.0]])
    data["visible"][1, 1:] = False
    scores = measured(data).compute()
    assert float(scores["mre_mm"]) == pytest.approx(2.0)  # mean of the images' means: 3, of the landmarks' means: 5/3


def test_trap_two_test_sets_are_pooled_not_merged_by_fixed_weights() -> None:
    one, two = simple([[3.0]] * 3), simple([[1.0]])
    both = measured({key: torch.cat([one[key], two[key]]) for key in one}).compute()
    separate = [measured(part).compute() for part in (one, two)]
    assert float(both["mre_mm"]) == pytest.approx(2.5)
    assert float(both["std_mm"]) == pytest.approx(math.sqrt(0.75))
    assert all(part["std_mm"] == 0 for part in separate)  # no weighting of these gives the pooled deviation
    assert float(0.6 * separate[0]["mre_mm"] + 0.4 * separate[1]["mre_mm"]) != pytest.approx(2.5)


def test_trap_a_point_not_found_fails_the_rate_and_leaves_the_mean() -> None:
    data = simple([[1.0, 100.0]])
    data["pred"][0, 1] = torch.nan
    scores = measured(data).compute()
    assert scores["mre_mm"] == 1
    assert scores["sdr_4"] == 50
    assert scores["missing"] == 1
    data["pred"][0, 1] = torch.tensor([torch.inf, 0])
    assert measured(data).compute()["missing"] == 1


def test_points_that_are_not_annotated_count_nowhere() -> None:
    data = simple([[1.0, 50.0]])
    data["visible"][0, 1] = False
    data["target"][0, 1] = torch.nan
    scores = measured(data).compute()
    assert [float(scores[name]) for name in ("mre_mm", "sdr_2", "missing")] == [1, 100, 0]


def test_an_image_without_annotated_points_changes_nothing() -> None:
    data, blank = case(5, 3, missing=0), case(1, 3)
    blank["visible"][:] = False
    blank["scale"][:] = torch.nan
    with_blank = measured({key: torch.cat([data[key], blank[key]]) for key in data}).compute()
    for name, value in measured(data).compute().items():
        assert with_blank[name] == value, name


def test_no_data_gives_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = LandmarkMetrics(RADII).compute()
        table = LandmarkMetrics(RADII, names=("a", "b")).per_landmark()
        assert LandmarkMetrics(RADII, names=("a", "b")).errors().shape == (0, 2)
    assert scores.pop("missing") == 0
    assert all(value.isnan() for value in scores.values())
    assert table["mre_mm"].isnan().tolist() == [True, True]
    assert table["visible"].tolist() == [0, 0]


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = torch.Generator().manual_seed(0)
    hits = 0
    for trial in range(200):
        image = torch.randn(40, 1, generator=rng).exp()  # points of one image err together
        errors = image * (0.5 + torch.rand(40, 10, generator=rng))
        low, high = bootstrap_interval(errors, seed=trial, resamples=300)
        hits += low <= math.exp(0.5) <= high
    assert 0.84 <= hits / 200 <= 0.97  # drawing points instead of images covers about 0.6


def test_interval_is_seeded_and_encloses_the_mean() -> None:
    data = case(30, 5)
    first, again, other = measured(data), measured(data), measured(data, seed=1)
    scores = first.compute()
    assert scores["mre_mm_low"] < scores["mre_mm"] < scores["mre_mm_high"]
    assert again.compute()["mre_mm_low"] == scores["mre_mm_low"]
    assert other.compute()["mre_mm_low"] != scores["mre_mm_low"]


def test_interval_of_many_images_needs_little_memory_and_agrees_with_a_direct_draw() -> None:
    errors = torch.rand(9000, 2, generator=torch.Generator().manual_seed(0))  # drawn in several parts
    low, high = bootstrap_interval(errors)
    spread = float(errors.mean(1).std()) / math.sqrt(9000)
    assert (high - low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.1)


def test_batches_of_forward_add_up_to_the_whole() -> None:
    data = case(7, 3)
    metric = LandmarkMetrics(RADII)
    for i in range(7):
        alone = metric(**{key: value[i : i + 1] for key, value in data.items()})
        assert alone["missing"] <= 3
    for name, value in measured(data).compute().items():
        torch.testing.assert_close(metric.compute()[name], value, equal_nan=True)


def test_metrics_can_be_pickled_copied_reset_and_merged() -> None:
    data = case(6, 4)
    metric = measured(data, names=tuple("abcd"), unit="px")
    for twin in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric.clone()):
        for name, value in metric.compute().items():
            torch.testing.assert_close(twin.compute()[name], value, equal_nan=True)
    assert not metric.state_dict()
    hash(metric)
    halves = [
        measured({key: value[part] for key, value in data.items()}, unit="px") for part in (slice(2), slice(2, 6))
    ]
    halves[0].merge_state(halves[1])
    for name, value in metric.compute().items():
        torch.testing.assert_close(halves[0].compute()[name], value, equal_nan=True)
    metric.reset()
    assert metric.compute()["mre_px"].isnan()


def test_half_precision_predictions_are_measured_in_full_precision() -> None:
    data = case(4, 3, missing=0, hidden=0)
    rounded = {**data, "pred": data["pred"].bfloat16()}
    exact = {**data, "pred": data["pred"].bfloat16().float()}
    assert measured(rounded).compute() == measured(exact).compute()


def test_many_landmarks_and_three_dimensions_are_taken() -> None:
    k = 5000
    target = torch.zeros(3, k, 3)
    metric = LandmarkMetrics((1.0,))
    metric.update(target + 2, target, torch.ones(3, k, dtype=torch.bool), torch.full((3, 3), 0.5))
    assert float(metric.compute()["mre_mm"]) == pytest.approx(math.sqrt(3))
    assert metric.per_landmark()["sdr_1"].shape == (k,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pred": torch.zeros(2, 3)}, "pred and target must both be"),
        ({"target": torch.zeros(2, 4, 2)}, "pred and target must both be"),
        ({"visible": torch.ones(2, 3)}, "visible must be"),
        ({"scale": torch.ones(2)}, "scale must be"),
        ({"score": torch.zeros(2, 4)}, "score must be"),
        ({"scale": torch.zeros(2, 2)}, "positive and finite"),
        ({"scale": torch.full((2, 2), math.nan)}, "report px"),
        ({"target": torch.full((2, 3, 2), math.nan)}, "finite where visible"),
    ],
)
def test_misuse_is_a_value_error(change: dict[str, Tensor], reason: str) -> None:
    data = case(2, 3, missing=0, hidden=0)
    with pytest.raises(ValueError, match=reason):
        LandmarkMetrics(RADII).update(**{**data, **change})


def test_number_of_landmarks_is_fixed_by_names_or_by_the_first_batch() -> None:
    with pytest.raises(ValueError, match="must have 2 landmarks, got 3"):
        LandmarkMetrics(RADII, names=("a", "b")).update(**case(1, 3))
    with pytest.raises(ValueError, match="must have 3 landmarks, got 4"):
        measured(case(1, 3)).update(**case(1, 4))
    with pytest.raises(ValueError, match="differ"):
        LandmarkMetrics(RADII, names=("a", "a"))
    with pytest.raises(ValueError, match="positive"):
        LandmarkMetrics((2.0, -1.0))


@pytest.mark.parametrize("levels", [3, 1000], ids=["many ties", "few ties"])
def test_rank_correlation_of_scores_agrees_with_scipy(levels: int) -> None:
    rng = np.random.default_rng(levels)
    errors, scores = rng.integers(0, levels, 200).astype(float), rng.integers(0, levels, 200).astype(float)
    errors[:3], scores[3:5] = (np.nan, np.inf, np.nan), np.nan
    known = np.isfinite(errors) & np.isfinite(scores)
    expected = spearmanr(errors[known], scores[known]).statistic
    assert score_spearman(torch.tensor(errors), torch.tensor(scores)) == pytest.approx(expected, abs=1e-12)


def test_a_score_that_ranks_points_perfectly_has_minus_one_and_one_that_cannot_rank_has_none() -> None:
    errors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert score_spearman(errors, -errors) == pytest.approx(-1)
    assert score_spearman(errors, errors.exp()) == pytest.approx(1)
    assert math.isnan(score_spearman(errors, torch.ones(2, 2)))
    assert math.isnan(score_spearman(errors[:1], -errors[:1])), "two points have no correlation worth telling"


def test_scores_are_told_where_they_are_given_whatever_the_batches() -> None:
    data = case(12, 5)
    assert "score_spearman" not in measured(data).compute()
    data["score"] = torch.rand(12, 5)
    whole = measured(data)
    parts = measured({key: value.flip(0) for key, value in data.items()}, [5, 4, 3])
    assert torch.equal(whole.compute()["score_spearman"], parts.compute()["score_spearman"])
    errors, scores = whole.errors_and_scores()
    assert torch.equal(scores, data["score"])
    assert float(whole.compute()["score_spearman"]) == pytest.approx(score_spearman(errors, scores))
