from __future__ import annotations

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from medzoo.core.ops.elastic_deform import cpu, displacement_field, elastic_deform, jacobian_determinant, warp
from medzoo.core.ops.elastic_deform.spline import KINDS, basis_matrix, coefficients

SIZES = [((37, 53), (6, 7)), ((60, 90), (5, 9)), ((1, 40), (4, 5)), ((20, 31, 44), (5, 6, 4)), ((17, 1, 33), (4, 4, 7))]


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).to(dtype)


def scipy_field(control: Tensor, size: tuple[int, ...]) -> np.ndarray:
    nodes = [np.linspace(0, g - 1, n) if n > 1 else np.zeros(1) for g, n in zip(control.shape[1:], size, strict=True)]
    grid = np.meshgrid(*nodes, indexing="ij")
    return np.stack([ndimage.map_coordinates(c.double().numpy(), grid, order=3, mode="mirror") for c in control])


def scipy_warp(image: Tensor, d: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in image.shape], indexing="ij"))
    return ndimage.map_coordinates(image.double().numpy(), index + d, order=1, mode="nearest")


@pytest.mark.parametrize(("size", "grid"), SIZES)
@pytest.mark.parametrize(("reach", "tolerance"), [(3.0, 2e-6), (8.0, 5e-6)])
def test_native_interpolating_spline_equals_scipy_in_double_precision(
    native: str, size: tuple[int, ...], grid: tuple[int, ...], reach: float, tolerance: float
) -> None:
    control = draw(1, 1, len(size), *grid) * 2 - 1
    d = scipy_field(control[0], size)
    control *= reach / np.abs(d).max()
    image = draw(2, 1, 1, *size)
    expected = scipy_warp(image[0, 0], scipy_field(control[0], size))
    assert np.abs(elastic_deform(image, control, backend=native)[0, 0].numpy() - expected).max() <= tolerance


@pytest.mark.parametrize(("size", "grid"), SIZES)
def test_every_backend_equals_scipy_to_rounding_when_it_computes_in_double(
    backend: str, size: tuple[int, ...], grid: tuple[int, ...]
) -> None:
    control = (draw(1, 1, len(size), *grid, dtype=torch.float64) * 2 - 1) * 4
    image = draw(2, 1, 1, *size, dtype=torch.float64)
    expected = scipy_warp(image[0, 0], scipy_field(control[0], size))
    assert np.abs(elastic_deform(image, control, backend=backend)[0, 0].numpy() - expected).max() <= 1e-10


def test_torch_fallback_in_single_precision_stays_within_its_documented_error() -> None:
    control = (draw(1, 1, 3, 5, 6, 7) * 2 - 1) * 6
    image = draw(2, 1, 1, 64, 80, 96)
    expected = scipy_warp(image[0, 0], scipy_field(control[0], (64, 80, 96)))
    assert np.abs(elastic_deform(image, control, backend="torch")[0, 0].numpy() - expected).max() <= 2e-4


@pytest.mark.parametrize("size", [(9, 40), (5, 6, 35), (1, 2), (2, 1, 3)])
@pytest.mark.parametrize("padding", ["border", "zeros", "reflection", 3.0])
@pytest.mark.parametrize("order", [0, 1, "label"])
def test_zero_control_returns_the_input_bit_for_bit_in_every_dtype(
    native: str, size: tuple[int, ...], padding: str | float, order: int | str
) -> None:
    control = torch.zeros(1, len(size), *[5] * len(size))
    dtypes = [
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.uint8,
        torch.int16,
        torch.int32,
        torch.int64,
    ]
    for dtype in dtypes:
        image = (draw(3, 2, 2, *size) * 200).to(dtype)
        out = elastic_deform(image, control, order=order, padding=padding, backend=native)
        assert torch.equal(out, image.float() if order == 1 and not dtype.is_floating_point else image), dtype


@pytest.mark.parametrize("order", [0, "label"])
def test_zero_control_is_exact_for_labels_in_the_fallback_too(order: int | str) -> None:
    labels = torch.randint(-(2**62), 2**62, (2, 1, 9, 11))
    assert torch.equal(elastic_deform(labels, torch.zeros(1, 2, 4, 4), order=order, backend="torch"), labels)


@pytest.mark.parametrize("order", [0, 1, "label"])
@pytest.mark.parametrize("spline", ["interpolate", "coefficients"])
def test_constant_control_shifts_by_whole_voxels(backend: str, order: int | str, spline: str) -> None:
    image = draw(4, 1, 2, 30, 45).round(decimals=1) if order == "label" else draw(4, 1, 2, 30, 45)
    control = torch.tensor([3.0, -5.0]).reshape(1, 2, 1, 1).expand(1, 2, 6, 5)
    out = elastic_deform(image, control, spline=spline, order=order, backend=backend)
    tolerance = 2e-4 if backend == "torch" else 1e-6
    assert (out[:, :, :27, 5:] - image[:, :, 3:, :40]).abs().max() <= tolerance


@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
@pytest.mark.parametrize("size", [(25, 38), (12, 15, 19)])
def test_dense_warp_equals_grid_sample(native: str, padding: str, size: tuple[int, ...]) -> None:
    nd = len(size)
    image = draw(5, 2, 3, *size, dtype=torch.float64)
    d = (draw(6, 2, nd, *size, dtype=torch.float64) * 2 - 1) * 9
    identity = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in size], indexing="ij"))
    extent = torch.tensor([n - 1 for n in size], dtype=torch.float64).reshape(nd, *[1] * nd)
    grid = ((d + identity) * 2 / extent - 1).movedim(1, -1).flip(-1)
    expected = F.grid_sample(image, grid, padding_mode=padding, align_corners=True)
    assert (warp(image, d, padding=padding, backend=native) - expected).abs().max() <= 1e-10
    single = warp(image.float(), d.float(), padding=padding, backend=native)
    assert (single - expected).abs().max() <= 1e-4


def test_warp_by_the_displacement_field_equals_elastic_deform(backend: str) -> None:
    control = (draw(7, 2, 2, 5, 6, dtype=torch.float64) - 0.5) * 9
    image = draw(8, 2, 1, 33, 47, dtype=torch.float64)
    for spline in ("interpolate", "coefficients"):
        d = displacement_field(control, (33, 47), spline)
        expected = elastic_deform(image, control, spline=spline, backend=backend)
        assert (warp(image, d, backend=backend) - expected).abs().max() <= 1e-10


def test_constant_padding_fills_what_lies_outside_and_keeps_the_last_line(backend: str) -> None:
    image = torch.ones(1, 1, 6, 7)
    move = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]])  # two rows down
    out = elastic_deform(image, affine=move, padding=-4.0, backend=backend)
    assert torch.equal(out[0, 0, :, 0], torch.tensor([1.0, 1.0, 1.0, 1.0, -4.0, -4.0]))
    assert torch.equal(
        elastic_deform(image, affine=move * torch.tensor([1.0, 1.0, 0.0]), padding=-4.0, backend=backend), image
    )


def test_large_labels_keep_their_integer_type_and_value(backend: str) -> None:
    labels = (torch.arange(20 * 20).reshape(1, 1, 20, 20) + 2**60) * 7
    control = (draw(9, 1, 2, 5, 5) - 0.5) * 4
    for order in (0, "label"):
        out = elastic_deform(labels, control, order=order, backend=backend)
        assert out.dtype == torch.int64
        assert set(out.flatten().tolist()) <= set(labels.flatten().tolist())


def test_integers_become_floats_where_they_are_interpolated(backend: str) -> None:
    image = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    image[..., 1::2] = 0
    half = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]]])
    out = elastic_deform(image, affine=half, backend=backend)
    assert out.dtype == torch.float32
    assert (out[..., :-1] - 127.5).abs().max() <= 1e-2


def test_nearest_takes_the_upper_neighbour_at_a_tie(backend: str) -> None:
    image = torch.arange(8.0).reshape(1, 1, 1, 8).expand(1, 1, 4, 8)
    half = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]]], dtype=torch.float64)
    out = elastic_deform(image, affine=half, order=0, backend=backend)
    assert out[0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 7]


@pytest.mark.parametrize("size", [(21, 34), (11, 12, 19)])
@pytest.mark.parametrize("padding", ["border", 2, "reflection"])
def test_label_mode_equals_one_hot_linear_argmax(backend: str, size: tuple[int, ...], padding: str | int) -> None:
    nd = len(size)
    labels = torch.randint(0, 40, (1, 1, *size), generator=torch.Generator().manual_seed(3))
    control = (draw(10, 1, nd, *[5] * nd, dtype=torch.float64) - 0.5) * 12
    hot = F.one_hot(labels[:, 0], 40).movedim(-1, 1).double()
    if isinstance(padding, int):
        scores = elastic_deform(hot, control, padding="zeros", backend="torch")
        outside = elastic_deform(
            torch.ones(1, 1, *size, dtype=torch.float64), control, padding="zeros", backend="torch"
        )
        scores[:, padding] += (1 - outside)[:, 0]
    else:
        scores = elastic_deform(hot, control, padding=padding, backend="torch")
    top = scores.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] > 1e-4
    out = elastic_deform(labels, control, order="label", padding=padding, backend=backend)[:, 0]
    assert clear.float().mean() > 0.9
    assert torch.equal(out[clear], scores.argmax(1)[clear])
    assert set(out.flatten().tolist()) <= set(labels.flatten().tolist())


def test_several_tensors_share_one_field_with_their_own_rules(backend: str) -> None:
    image, labels = draw(11, 2, 3, 24, 40), torch.randint(0, 5, (2, 1, 24, 40), dtype=torch.uint8)
    control = (draw(12, 2, 2, 5, 5) - 0.5) * 6
    both = elastic_deform([image, labels], control, order=[1, "label"], padding=["zeros", "border"], backend=backend)
    assert torch.equal(both[0], elastic_deform(image, control, padding="zeros", backend=backend))
    assert torch.equal(both[1], elastic_deform(labels, control, order="label", backend=backend))


def test_a_batch_equals_single_calls_and_a_shared_field_is_broadcast(native: str) -> None:
    image, control = draw(13, 8, 2, 19, 70), (draw(14, 8, 2, 6, 5) - 0.5) * 9
    affine = torch.eye(2, 3, dtype=torch.float64) + 0.1 * draw(15, 8, 2, 3, dtype=torch.float64)
    whole = elastic_deform(image, control, affine=affine, backend=native)
    parts = [
        elastic_deform(image[i : i + 1], control[i : i + 1], affine=affine[i : i + 1], backend=native) for i in range(8)
    ]
    assert torch.equal(whole, torch.cat(parts))
    shared = elastic_deform(image, control[:1], backend=native)
    assert torch.equal(shared, elastic_deform(image, control[:1].expand(8, -1, -1, -1), backend=native))


@pytest.mark.parametrize("grid", [(4, 5), (7, 7), (17, 33), (5, 6, 7), (8, 8, 16)])
def test_the_prefilter_gives_a_sample_the_same_bits_alone_and_in_a_batch(grid: tuple[int, ...]) -> None:
    control = draw(18, 33, len(grid), *grid) - 0.5
    whole = coefficients(control, KINDS["interpolate"])
    for i in range(33):
        assert torch.equal(whole[i : i + 1], coefficients(control[i : i + 1].clone(), KINDS["interpolate"]))
    exact = coefficients(control.double(), KINDS["interpolate"])
    assert torch.equal(whole, exact.float())  # rounded once


@pytest.mark.parametrize("pool", [True, False])
def test_results_do_not_depend_on_the_number_of_threads(
    native: str, pool: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not pool:  # threads of one call, as in a forked process or where torch has no OpenMP
        monkeypatch.setattr(cpu, "_TEAM", [0])
    elif not cpu._TEAM[0]:
        pytest.skip("torch has no OpenMP here")
    image = draw(16, 2, 1, 40, 50, 60).requires_grad_()
    control = ((draw(17, 2, 3, 6, 5, 7) - 0.5) * 9).requires_grad_()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            out = elastic_deform(image, control, backend=native)
            results.append([out, *torch.autograd.grad(out.square().sum(), [image, control])])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("size", [(33, 70), (14, 20, 40)])
def test_a_window_equals_the_same_part_of_the_full_result(backend: str, size: tuple[int, ...]) -> None:
    nd = len(size)
    image, control = draw(18, 1, 1, *size), (draw(19, 1, nd, *[6] * nd) - 0.5) * 6
    affine = (torch.eye(nd, nd + 1) + 0.1 * (draw(20, 1, nd, nd + 1) - 0.5)).double()
    start, extent = [3] * nd, [n - 8 for n in size]
    full = elastic_deform(image, control, affine=affine, backend=backend)
    part = elastic_deform(image, control, affine=affine, out_size=extent, offset=start, backend=backend)
    window = (..., *[slice(s, s + e) for s, e in zip(start, extent, strict=True)])
    assert (part - full[window]).abs().max() <= (2e-4 if backend == "torch" else 2e-6)


def test_an_output_size_without_offset_is_centred(backend: str) -> None:
    image = draw(21, 1, 1, 10, 14)
    assert (elastic_deform(image, out_size=(6, 8), backend=backend) - image[..., 2:8, 3:11]).abs().max() <= 1e-5
    wide = elastic_deform(image, out_size=(12, 14), padding="zeros", backend=backend)
    assert (wide[..., 1:11, :] - image).abs().max() <= 1e-5
    assert wide[..., 0, :].abs().max() <= 1e-5


@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
def test_affine_maps_equal_affine_grid(native: str, padding: str) -> None:
    image = draw(22, 2, 1, 41, 41, dtype=torch.float64)
    matrix = torch.tensor([[[0.8, -0.5], [0.5, 0.8]], [[1.2, 0.1], [0.0, 0.9]]], dtype=torch.float64)
    shift = torch.tensor([[3.0, -2.5], [0.0, 6.0]], dtype=torch.float64)
    affine = torch.cat([matrix, shift[:, :, None]], 2)
    theta = torch.cat([matrix.flip(1, 2), shift.flip(1)[:, :, None] / 20], 2)  # xy order, half extent 20
    grid = F.affine_grid(theta, [2, 1, 41, 41], align_corners=True)
    expected = F.grid_sample(image, grid, padding_mode=padding, align_corners=True)
    assert (elastic_deform(image, affine=affine, padding=padding, backend=native) - expected).abs().max() <= 1e-10
    single = elastic_deform(image.float(), affine=affine, padding=padding, backend=native)
    assert (single - expected).abs().max() <= 5e-6


def test_flips_and_quarter_turns_are_exact_permutations(native: str) -> None:
    image = draw(23, 1, 1, 65, 65)
    flip = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    turn = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])
    assert (elastic_deform(image, affine=flip, backend=native) - image.flip(2)).abs().max() <= 2e-5
    assert (elastic_deform(image, affine=turn, backend=native) - torch.rot90(image, 1, (2, 3))).abs().max() <= 2e-5
    assert torch.equal(elastic_deform(image, affine=flip, order=0, backend=native), image.flip(2))


def test_affine_and_elastic_act_as_one_interpolation(backend: str) -> None:
    image, control = draw(24, 1, 1, 30, 44, dtype=torch.float64), (draw(25, 1, 2, 5, 6, dtype=torch.float64) - 0.5) * 5
    affine = torch.tensor([[[0.9, 0.2, 1.5], [-0.1, 1.1, -2.0]]], dtype=torch.float64)
    centre = torch.tensor([14.5, 21.5], dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(torch.arange(30.0), torch.arange(44.0), indexing="ij"), -1).double()
    linear = (grid - centre) @ affine[0, :, :2].T + centre + affine[0, :, 2] - grid
    d = linear.movedim(-1, 0)[None] + displacement_field(control, (30, 44))
    expected = warp(image, d, backend="torch")
    assert (elastic_deform(image, control, affine=affine, backend=backend) - expected).abs().max() <= 1e-9


def test_half_precision_is_computed_in_single(backend: str) -> None:
    image, control = draw(26, 1, 1, 20, 30), (draw(27, 1, 2, 5, 5) - 0.5) * 5
    for dtype in (torch.float16, torch.bfloat16):
        out = elastic_deform(image.to(dtype), control, backend=backend)
        assert torch.equal(out, elastic_deform(image.to(dtype).float(), control, backend=backend).to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(
            elastic_deform(image, control, backend=backend), elastic_deform(image, control, backend=backend).float()
        )
        inside = elastic_deform(image, control, backend=backend)
    assert torch.equal(inside, elastic_deform(image, control, backend=backend))


def test_memory_layout_of_the_input_does_not_matter(backend: str) -> None:
    image, control = draw(28, 2, 4, 20, 30), (draw(29, 2, 2, 5, 5) - 0.5) * 5
    expected = elastic_deform(image, control, backend=backend)
    last = image.contiguous(memory_format=torch.channels_last)
    spread = torch.zeros(2, 4, 40, 60)[..., ::2, ::2].copy_(image)
    for same in (last, spread, image.transpose(2, 3).contiguous().transpose(2, 3)):
        assert (
            elastic_deform(same, control.transpose(2, 3).contiguous().transpose(2, 3), backend=backend) - expected
        ).abs().max() <= 1e-6


def test_images_without_channels_give_outputs_without_channels(backend: str) -> None:
    out = elastic_deform(torch.zeros(2, 0, 9, 9), torch.zeros(1, 2, 4, 4), out_size=(5, 6), backend=backend)
    assert out.shape == (2, 0, 5, 6)


def test_a_pixel_that_is_not_finite_stays_within_its_neighbourhood(native: str) -> None:
    image, control = torch.zeros(1, 1, 24, 24, 64), (draw(30, 1, 3, 5, 5, 5) - 0.5) * 6
    image[0, 0, 12, 12, 32] = torch.nan
    spread = elastic_deform(image, control, backend=native).isnan()
    field = displacement_field(control, (24, 24, 64))[0]
    places = torch.stack(torch.meshgrid(torch.arange(24), torch.arange(24), torch.arange(64), indexing="ij"))
    near = ((field + places - torch.tensor([12, 12, 32]).reshape(3, 1, 1, 1)).abs() <= 1.001).all(0)
    assert spread.any()
    assert bool((spread[0, 0] <= near).all())


def test_non_finite_and_huge_displacements_read_as_outside(backend: str) -> None:
    d = torch.zeros(1, 2, 8, 8)
    d[0, 0, 0, 0], d[0, 1, 1, 1], d[0, 0, 2, 2] = torch.nan, torch.inf, -1e30
    out = warp(torch.ones(1, 1, 8, 8), d, padding=5.0, backend=backend)
    assert [out[0, 0, i, i].item() for i in range(4)] == [5.0, 5.0, 5.0, 1.0]


@pytest.mark.parametrize(("grid", "size"), [((7, 6), (40, 50)), ((5, 4, 6), (14, 17, 20))])
@pytest.mark.parametrize("spline", ["interpolate", "coefficients"])
def test_jacobian_determinant_equals_finite_differences(
    grid: tuple[int, ...], size: tuple[int, ...], spline: str
) -> None:
    nd = len(size)
    control = (draw(31, 1, nd, *grid, dtype=torch.float64) - 0.5) * 3
    fine = [4 * (n - 1) + 1 for n in size]  # field at quarter voxels
    if spline == "interpolate":
        field = displacement_field(control, fine, spline)[0]
        inner = tuple(slice(4, -4, 4) for _ in size)
        rows = []
        for b in range(nd):
            up = tuple(slice(5, -3, 4) if j == b else inner[j] for j in range(nd))
            down = tuple(slice(3, -5, 4) if j == b else inner[j] for j in range(nd))
            rows.append((field[(slice(None), *up)] - field[(slice(None), *down)]) * 2)
        j = torch.stack(rows, -1).movedim(0, -2) + torch.eye(nd, dtype=torch.float64)
        expected = torch.linalg.det(j)
        found = jacobian_determinant(control, size, spline)[0][tuple(slice(1, -1) for _ in size)]
        assert (found - expected).abs().max() <= 2e-2
    assert torch.equal(jacobian_determinant(control * 0, size, spline), torch.ones(1, *size, dtype=torch.float64))


def test_interpolating_field_passes_through_its_control_vectors() -> None:
    control = draw(32, 1, 2, 5, 6, dtype=torch.float64)
    field = displacement_field(control, (41, 51))
    assert (field[:, :, ::10, ::10] - control).abs().max() <= 1e-12


def test_itk_layout_of_free_coefficients() -> None:
    """SimpleITK's own BSplineTransform, in voxels; its components and axes are reversed."""
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    size, grid = (24, 30, 28), (5, 6, 7)
    control = (draw(33, 1, 3, *grid, dtype=torch.float64) - 0.5) * 4
    reference = sitk.Image([int(n) for n in reversed(size)], sitk.sitkFloat32)
    transform = sitk.BSplineTransformInitializer(reference, [g - 3 for g in reversed(grid)], order=3)
    transform.SetParameters(control[0].flip(0).flatten().tolist())
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        reference.GetSize(),
        reference.GetOrigin(),
        reference.GetSpacing(),
        reference.GetDirection(),
    )
    expected = torch.from_numpy(sitk.GetArrayFromImage(field)).flip(-1).movedim(-1, 0)
    rows = [
        basis_matrix(torch.arange(n, dtype=torch.float64), g, (g - 3) / (n + 0.25), 0.625 * (g - 3) / (n + 0.25))
        for g, n in zip(grid, size, strict=True)
    ]
    found = torch.einsum("akji,zk,yj,xi->azyx", control[0], *rows)
    assert ((found - expected).abs().max() / expected.abs().max()) <= 1e-6


@pytest.mark.parametrize(("size", "grid"), [((37, 53), (6, 7)), ((20, 31, 44), (5, 6, 4))])
def test_elasticdeform_gives_the_same_image(native: str, size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    peer = pytest.importorskip("elasticdeform", reason="elasticdeform is not installed (build it from source)")
    control, image = (draw(34, 1, len(size), *grid) - 0.5) * 6, draw(35, 1, 1, *size)
    expected = peer.deform_grid(image[0, 0].double().numpy(), control[0].double().numpy(), order=1, mode="nearest")
    assert np.abs(elastic_deform(image, control, backend=native)[0, 0].numpy() - expected).max() <= 2e-6


def test_native_path_needs_no_memory_beyond_its_output(libraries: dict[str, object]) -> None:
    if not libraries or sys.platform != "linux":
        pytest.skip("needs a compiler, and Linux to ask for the peak memory")
    code = """
import re, torch
from pathlib import Path
from medzoo.core.ops.elastic_deform import elastic_deform
torch.set_num_threads(1)
image, control = torch.rand(1, 1, 256, 256, 256), torch.rand(1, 3, 8, 8, 8)
elastic_deform(image[..., :8, :8, :8], control)
def peak():  # ru_maxrss would start from the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
out = elastic_deform(image, control)
print((peak() - before) / (out.numel() * 4))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.9 <= float(done.stdout) <= 1.1


@pytest.mark.parametrize(("order", "padding"), list(product([0, 1, "label"], ["border", "zeros", "reflection", 2.0])))
def test_native_equals_the_torch_formulation_with_strong_affine_maps(
    native: str, order: int | str, padding: str | float
) -> None:
    for seed in range(6):
        nd = 2 + seed % 2
        size = [(33, 70), (12, 9, 40)][nd - 2]
        image = (
            (draw(seed, 2, 2, *size, dtype=torch.float64) * 5).round()
            if order == "label"
            else draw(seed, 2, 2, *size, dtype=torch.float64)
        )
        control = (draw(seed + 50, 2, nd, *[5] * nd, dtype=torch.float64) - 0.5) * 30
        affine = torch.eye(nd, nd + 1, dtype=torch.float64) + (
            draw(seed + 99, 2, nd, nd + 1, dtype=torch.float64) - 0.5
        )
        a, b = (
            elastic_deform(image, control, affine=affine, order=order, padding=padding, backend=k)
            for k in (native, "torch")
        )
        assert (a - b).abs().max() <= 1e-9
