from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from medzoo.core.ops.elastic_deform import (
    RandomElasticDeform,
    displacement_field,
    elastic_deform,
    grid_from_sigma,
    jacobian_determinant,
    knot_spacing,
    random_control,
    rms_from_alpha,
    transform,
    transform_points,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spline", ["interpolate", "coefficients"])
@pytest.mark.parametrize(("grid", "size"), [((7, 9), (100, 80)), ((6, 5, 8), (30, 40, 36))])
def test_default_fields_never_fold(spline: str, grid: tuple[int, ...], size: tuple[int, ...]) -> None:
    control = random_control(8, grid, size, spline=spline, generator=seeded(0))
    assert jacobian_determinant(control, size, spline).min() > 0
    assert displacement_field(control, size, spline).abs().max() <= 0.4 * max(knot_spacing(grid, size, spline))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    limit=st.floats(0.0, 30.0),
    spline=st.sampled_from(["interpolate", "coefficients"]),
    nd=st.integers(2, 3),
)
def test_no_voxel_moves_further_than_max_displacement(seed: int, limit: float, spline: str, nd: int) -> None:
    size = (40, 24, 17)[:nd]
    control = random_control(2, (5, 6, 4)[:nd], size, spline=spline, max_displacement=limit, generator=seeded(seed))
    assert displacement_field(control, size, spline).abs().max() <= limit * (1 + 1e-5) + 1e-6


@pytest.mark.parametrize("nd", [2, 3])
def test_rms_is_that_of_the_field(nd: int) -> None:
    size = (160, 160) if nd == 2 else (72, 72, 72)
    control = random_control(24, None, size, sigma=8.0, rms=3.0, spline="coefficients", generator=seeded(1))
    assert displacement_field(control, size, "coefficients").square().mean().sqrt().item() == pytest.approx(
        3.0, rel=0.05
    )


def test_sigma_gives_the_autocorrelation_of_gaussian_noise() -> None:
    sigma, size = 8.0, (24, 640)
    assert grid_from_sigma(sigma, size)[1] == round(639 / (math.sqrt(3) * sigma)) + 1
    control = random_control(200, None, size, sigma=sigma, rms=1.0, generator=seeded(2))
    row = displacement_field(control, size)[:, 0, 12, 100:540].numpy()
    for lag in (4, 8, 16, 24):
        measured = float(np.mean(row[:, :-lag] * row[:, lag:]) / np.mean(row**2))
        assert measured == pytest.approx(math.exp(-(lag**2) / (4 * sigma**2)), abs=0.05)


def test_alpha_of_the_classic_recipe_is_translated() -> None:
    assert rms_from_alpha(1.0, 10.0, 2) == pytest.approx(0.0163, abs=1e-4)
    assert rms_from_alpha(1828.0, 10.0, 3) == pytest.approx(5.0, abs=0.02)


def test_millimetres_are_converted_by_the_spacing() -> None:
    mm = random_control(1, (5, 5), (40, 40), max_displacement=6.0, spacing=(2.0, 3.0), generator=seeded(3))
    px = random_control(1, (5, 5), (40, 40), max_displacement=(3.0, 2.0), generator=seeded(3))
    assert torch.equal(mm, px)


def test_locked_borders_keep_the_edge_of_the_image_in_place() -> None:
    for spline, layers, limit in (("interpolate", 2, 1e-5), ("coefficients", 3, 1e-3)):
        control = random_control(2, (9, 8), (50, 60), spline=spline, locked_borders=layers, generator=seeded(4))
        field = displacement_field(control, (50, 60), spline)
        assert max(field[..., 0, :].abs().max(), field[..., -1].abs().max()) <= limit
        assert field.abs().max() > 0.5


def test_a_seed_is_a_deformation_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    a, b, c = (random_control(2, (5, 5), (30, 30), generator=seeded(s)) for s in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(state, torch.get_rng_state())


# Landmarks


@pytest.mark.parametrize(("size", "grid"), [((256, 200), (8, 7)), ((64, 70, 50), (6, 7, 5))])
@pytest.mark.parametrize("spline", ["interpolate", "coefficients"])
def test_points_solve_the_pull_back_equation_to_a_thousandth_of_a_pixel(
    size: tuple[int, ...], grid: tuple[int, ...], spline: str
) -> None:
    nd = len(size)
    for seed in range(5):
        control = random_control(2, grid, size, spline=spline, generator=seeded(seed))
        points = torch.rand(2, 400, nd, generator=seeded(seed), dtype=torch.float64) * (torch.tensor(size) - 1)
        affine = torch.eye(nd, nd + 1, dtype=torch.float64) + 0.1 * torch.randn(
            2, nd, nd + 1, generator=seeded(seed), dtype=torch.float64
        )
        for a in (None, affine):
            found = transform_points(points, control, size, a, spline=spline)
            back = transform_points(found.points, control, size, a, spline=spline, inverse=False).points
            assert found.converged.all()
            assert (back - points).abs().max() <= 1e-3


def test_forward_map_of_points_is_the_displacement_field() -> None:
    control = random_control(1, (6, 5), (31, 41), generator=seeded(7)).double()
    field = displacement_field(control, (31, 41))
    at = (
        torch.stack(torch.meshgrid(torch.arange(31.0), torch.arange(41.0), indexing="ij"), -1)
        .reshape(1, -1, 2)
        .double()
    )
    moved = transform_points(at, control, (31, 41), inverse=False).points
    assert (moved - at - field[0].reshape(2, -1).T).abs().max() <= 1e-10


@pytest.mark.parametrize("nd", [2, 3])
def test_a_warped_blob_lands_on_its_warped_point(nd: int) -> None:
    size = (96, 120) if nd == 2 else (40, 44, 48)
    control = random_control(1, [6] * nd, size, generator=seeded(8)) * 0.3
    affine = torch.eye(nd, nd + 1, dtype=torch.float64)[None].clone()
    affine[:, 0, 1], affine[:, 1, 0], affine[:, 0, nd] = 0.1, -0.1, 2.0
    centre = torch.tensor([n / 2 + 3.3 for n in size], dtype=torch.float64)
    axes = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"))
    blob = torch.exp(-((axes - centre.reshape(nd, *[1] * nd)) ** 2).sum(0) / (2 * 1.2**2)).float()
    for kwargs in ({}, {"out_size": [n - 10 for n in size], "offset": [4] * nd}, {"out_size": [n + 9 for n in size]}):
        warped = elastic_deform(blob[None, None], control, affine=affine, padding="zeros", **kwargs)[0, 0].double()
        grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in warped.shape], indexing="ij")).double()
        mass = (grid * warped).flatten(1).sum(1) / warped.sum()
        point = transform_points(centre.reshape(1, 1, nd), control, size, affine, **kwargs).points[0, 0]
        assert (mass - point).norm() <= 0.05


def test_missing_points_stay_missing_and_lost_points_are_told() -> None:
    points = torch.tensor([[[10.0, 10.0], [torch.nan, 5.0], [39.0, 2.0]]])
    move = torch.tensor([[[1.0, 0.0, -8.0], [0.0, 1.0, 0.0]]])  # content moves 8 rows down
    found = transform_points(points, None, (40, 40), move)
    assert found.points[0, 0].tolist() == [18.0, 10.0]
    assert found.points[0, 1].isnan().all()
    assert found.inside.tolist() == [[True, False, False]]
    assert found.converged.tolist() == [[True, False, True]]


def test_no_points_and_singular_maps_are_no_error() -> None:
    control = random_control(2, (5, 5), (20, 20), generator=seeded(9))
    assert transform_points(torch.zeros(2, 0, 2), control, (20, 20)).inside.shape == (2, 0)
    squashed = transform_points(torch.rand(1, 4, 2), None, (20, 20), torch.zeros(1, 2, 3))
    assert not squashed.converged.any()


class Operations(TorchDispatchMode):
    """Counts the tensor operations that run within."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("size", "limit"), [((16, 16), 250), ((512, 512), 310), ((24, 30, 20), 270)])
def test_landmarks_cost_few_operations(size: tuple[int, ...], limit: int) -> None:
    """They, not arithmetic, are the time of 19 points: 939 and 1169 with a solver and separate axes."""
    control = random_control(1, [7] * len(size), size, generator=seeded(0))
    points = torch.rand(1, 19, len(size), generator=seeded(1)) * (torch.tensor(size) - 1)
    transform_points(points, control, size)
    with Operations() as operations:
        found = transform_points(points, control, size)
    assert found.converged.all()
    assert operations.count <= limit


def test_a_point_that_goes_round_at_an_edge_ends_the_search() -> None:
    """Newton's method may alternate between two points where the field of the border goes on outside."""
    control = random_control(1, (7, 7), (40, 40), generator=seeded(2)) * 6  # folds
    points = torch.rand(1, 200, 2, generator=seeded(3)) * 39
    lost = ~transform_points(points, control, (40, 40), iters=100).converged
    costs = []
    for k in lost[0].nonzero()[:, 0].tolist():
        with Operations() as operations:
            transform_points(points[:, k : k + 1], control, (40, 40), iters=100)
        costs.append(operations.count)
    assert min(costs) <= 500


# The module


def batch() -> dict[str, object]:
    return {
        "image": torch.rand(4, 2, 48, 64, generator=seeded(10)),
        "mask": torch.randint(0, 3, (4, 48, 64), generator=seeded(11)),
        "heatmap": torch.rand(4, 5, 48, 64, generator=seeded(12)),
        "landmarks": torch.rand(4, 5, 2, generator=seeded(13)) * torch.tensor([63.0, 47.0]),
        "visible": torch.ones(4, 5, dtype=torch.bool),
        "id": ["a", "b", "c", "d"],
    }


def test_one_seed_gives_one_result_that_its_parameters_replay() -> None:
    augment = RandomElasticDeform(grid=6, rotation=20, zoom=(0.8, 1.25), translation=4, flip=(1,), p=0.7)
    a, b = augment(batch(), seeded(1)), augment(batch(), seeded(1))
    buffer = io.BytesIO()
    torch.save(a["deformation"], buffer)
    buffer.seek(0)
    c = augment.replay(batch(), torch.load(buffer, weights_only=True))
    for key in ("image", "mask", "heatmap", "landmarks", "visible"):
        assert torch.equal(a[key], b[key])
        assert torch.equal(a[key], c[key])
    assert a["id"] == ["a", "b", "c", "d"]


def test_samples_that_are_not_drawn_come_out_bit_for_bit(compiled: str) -> None:
    data, augment = batch(), RandomElasticDeform(grid=6, rotation=20, p=0.5)
    out = augment(data, seeded(3))
    applied = out["deformation"]["applied"]
    assert applied.any()
    assert not applied.all()
    for key in ("image", "mask", "heatmap", "landmarks"):
        for i in range(4):
            assert torch.equal(out[key][i], data[key][i]) == (not applied[i])  # type: ignore[index]


def test_parameters_of_the_identity_need_no_affine_map_and_no_look_at_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A comparison where the parameters are not on the host would wait for the device (`meta` has no values at all)."""
    augment = RandomElasticDeform(grid=5)
    params = augment.sample(2, (20, 24), seeded(0))
    given: list[object] = []

    def spy(tensors: list[torch.Tensor], control: torch.Tensor, affine: torch.Tensor | None, **_: Any) -> Any:
        given.append(affine)
        return tensors

    monkeypatch.setattr(transform, "elastic_deform", spy)
    augment.replay({"image": torch.rand(2, 1, 20, 24)}, params)
    augment.replay({"image": torch.rand(2, 1, 20, 24)}, {k: v.to("meta") for k, v in params.items()})
    assert given[0] is None
    assert given[1] is not None


def test_fields_differ_between_samples_unless_asked_otherwise() -> None:
    image = {"image": torch.rand(1, 1, 30, 30).repeat(3, 1, 1, 1)}
    apart, same = RandomElasticDeform()(image, seeded(4)), RandomElasticDeform(same_on_batch=True)(image, seeded(4))
    assert not torch.equal(apart["image"][0], apart["image"][1])
    assert torch.equal(same["image"][0], same["image"][2])


def test_landmarks_in_xy_order_follow_the_image() -> None:
    image = torch.zeros(1, 1, 60, 80)
    image[0, 0, 20, 50] = 1.0
    kernel = torch.ones(1, 1, 5, 5) / 25
    image = torch.nn.functional.conv2d(image, kernel, padding=2)
    augment = RandomElasticDeform(
        grid=5, max_displacement=3, rotation=15, zoom=(0.9, 1.1), translation=3, out_size=(64, 72)
    )
    out = augment({"image": image, "landmarks": torch.tensor([[[50.0, 20.0]]])}, seeded(5))
    mass = out["image"][0, 0] / out["image"].sum()
    y, x = (mass.sum(1) * torch.arange(64.0)).sum(), (mass.sum(0) * torch.arange(72.0)).sum()
    assert (torch.stack([x, y]) - out["landmarks"][0, 0]).norm() <= 0.1
    assert out["image"].shape == (1, 1, 64, 72)


def test_magnification_and_flip_do_what_they_say() -> None:
    wide = RandomElasticDeform(max_displacement=0, zoom=(2.0, 2.0)).sample(1, (21, 21), seeded(0))["affine"]
    assert torch.allclose(wide[0, :, :2], torch.eye(2, dtype=torch.float64) / 2)
    flips = RandomElasticDeform(max_displacement=0, flip=(1,)).sample(400, (21, 21), seeded(0))["affine"]
    assert 0.4 < float((flips[:, 1, 1] == -1).double().mean()) < 0.6
    assert (flips[:, 0, 0] == 1).all()


def test_three_dimensional_batches_keep_image_mask_and_points_together() -> None:
    data = {
        "image": torch.rand(1, 1, 20, 24, 28),
        "mask": torch.randint(0, 3, (1, 20, 24, 28)),
        "landmarks": torch.rand(1, 3, 3) * 19,
    }
    out = RandomElasticDeform(grid=4, rotation=10)(data, seeded(6))
    assert out["image"].shape == (1, 1, 20, 24, 28)
    assert out["mask"].shape == (1, 20, 24, 28)
    found = transform_points(
        data["landmarks"].flip(-1), out["deformation"]["control"], (20, 24, 28), out["deformation"]["affine"]
    )
    assert torch.equal(out["landmarks"], found.points.flip(-1))


def test_the_monai_adapter_runs_in_a_compose_and_follows_its_seed() -> None:
    transforms = pytest.importorskip("monai.transforms", reason="MONAI is not installed")
    from monai.data import MetaTensor

    from medzoo.core.ops.elastic_deform import RandElasticDeformd

    data = {
        "image": np.random.default_rng(0).random((2, 32, 40), dtype=np.float32),
        "label": torch.randint(0, 4, (1, 32, 40), dtype=torch.uint8),
    }
    compose = transforms.Compose([RandElasticDeformd(["image", "label"], order=[1, "label"], grid=5, rotation=10)])
    results = [compose.set_random_state(7)(data) for _ in range(2)]
    assert isinstance(results[0]["image"], np.ndarray)
    assert results[0]["label"].dtype == torch.uint8
    assert np.array_equal(results[0]["image"], results[1]["image"])
    assert not np.array_equal(results[0]["image"], data["image"])
    meta = compose({"image": MetaTensor(data["image"], affine=torch.eye(4) * 2), "label": data["label"]})
    assert isinstance(meta["image"], MetaTensor)
    assert torch.equal(meta["image"].affine, torch.eye(4, dtype=torch.float64) * 2)
    never = RandElasticDeformd(["image"], prob=0.0)({"image": data["image"]})
    assert never["image"] is data["image"]
