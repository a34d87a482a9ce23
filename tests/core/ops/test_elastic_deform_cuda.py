"""The operator on a CUDA device against the CPU's and the torch formulation; skipped where there is none."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import RandomElasticDeform, backend_info, elastic_deform, random_control, warp

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SIZES = [(37, 70), (1, 50), (50, 1), (9, 21, 40), (1, 12, 30), (12, 30, 1)]
PADDINGS: list[str | float] = ["border", "zeros", "reflection", 0.7]


def case(size: tuple[int, ...], batch: int = 2, channels: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    nd = len(size)
    image = torch.rand(batch, channels, *size, generator=generator)
    bound = [0.2 * n for n in size]
    control = random_control(batch, [5] * nd, size, max_displacement=bound, generator=generator)
    affine = torch.eye(nd, nd + 1)[None] + 0.1 * torch.randn(batch, nd, nd + 1, generator=generator)
    return image, control, affine


def test_triton_serves_the_device() -> None:
    info = backend_info()
    assert info["cuda"] == "triton", info["cuda reason"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("moved", [False, True])
def test_values_are_those_of_the_cpu(size: tuple[int, ...], padding: str | float, moved: bool) -> None:
    image, control, affine = case(size)
    for spline, shared in itertools.product(("interpolate", "coefficients"), (False, True)):
        c, m = (control[:1], affine[:1]) if shared else (control, affine)
        options = {"spline": spline, "padding": padding}
        expected = elastic_deform(image, c, affine=m if moved else None, **options)
        found = elastic_deform(image.cuda(), c.cuda(), affine=m.cuda() if moved else None, **options)
        assert (found.cpu() - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [(37, 70), (9, 21, 40)])
@pytest.mark.parametrize("order", [0, "label"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float32, torch.float16])
def test_labels_are_those_of_the_cpu(size: tuple[int, ...], order: int | str, dtype: torch.dtype) -> None:
    image, control, _ = case(size)
    labels = (image * 5).to(dtype) if dtype != torch.bool else image > 0.5
    expected = elastic_deform(labels, control, order=order)
    found = elastic_deform(labels.cuda(), control.cuda(), order=order)
    assert found.dtype == dtype
    # A voxel on the edge between two labels falls to either side by the last digit of the displacement.
    assert (found.cpu() != expected).float().mean() <= 1e-4


@pytest.mark.parametrize("size", [(37, 70), (9, 21, 40)])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("moved", [False, True])
def test_gradients_are_those_of_double_precision(size: tuple[int, ...], padding: str | float, moved: bool) -> None:
    image, control, affine = case(size)
    g = torch.rand(image.shape, generator=torch.Generator().manual_seed(1))

    def gradients(device: str, dtype: torch.dtype) -> list[Tensor]:
        leaves = [t.to(device, dtype).requires_grad_() for t in (image, control, affine)]
        out = elastic_deform(leaves[0], leaves[1], affine=leaves[2] if moved else None, padding=padding)
        used = leaves if moved else leaves[:2]
        return [t.cpu().double() for t in torch.autograd.grad(out, used, g.to(device, dtype))]

    for found, expected in zip(gradients("cuda", torch.float32), gradients("cpu", torch.float64), strict=True):
        assert (found - expected).norm() <= 2e-5 * expected.norm()


def test_gradients_are_the_same_in_every_run_where_determinism_is_asked_for() -> None:
    image, control, _ = case((64, 80))
    image, control = image.cuda().requires_grad_(), control.cuda().requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        g = torch.rand_like(image)
        runs = [torch.autograd.grad(elastic_deform(image, control), [image, control], g) for _ in range(5)]
    finally:
        torch.use_deterministic_algorithms(False)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_nearest_gradients_are_those_of_the_cpu() -> None:
    image, control, _ = case((37, 70))
    found, expected = (
        torch.autograd.grad(elastic_deform(i, control.to(i.device), order=0).square().sum(), i)[0].cpu()
        for i in (image.cuda().requires_grad_(), image.clone().requires_grad_())
    )
    assert ((found - expected).abs() > 1e-5).float().mean() <= 1e-3


def test_dense_fields_are_those_of_the_cpu() -> None:
    for size in ((37, 70), (9, 21, 40)):
        image, field = case(size)[0], 3 * torch.randn(2, len(size), *size, generator=torch.Generator().manual_seed(2))
        field.view(-1)[5] = float("nan")
        assert torch.allclose(warp(image.cuda(), field.cuda()).cpu(), warp(image, field), atol=1e-5)


def test_half_precision_and_double_keep_their_type() -> None:
    image, control, _ = case((37, 70))
    expected = elastic_deform(image.double(), control.double())
    for dtype, most in ((torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float64, 1e-9)):
        found = elastic_deform(image.to("cuda", dtype), control.cuda().double())
        assert found.dtype == dtype
        assert (found.double().cpu() - expected).abs().max() <= most


def test_a_batch_of_more_than_65535_samples() -> None:
    image, control, _ = case((4, 6), batch=70_000, channels=1)
    found = elastic_deform(image.cuda(), control.cuda())
    assert (found.cpu() - elastic_deform(image, control)).abs().max() <= 1e-5


def test_a_call_does_not_wait_for_the_device() -> None:
    image, control, affine = (t.cuda() for t in case((37, 70)))
    elastic_deform(image, control, affine=affine)
    torch.cuda.set_sync_debug_mode("error")
    try:
        elastic_deform(image, control, affine=affine)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_call_can_be_captured_in_a_graph() -> None:
    image, control, _ = (t.cuda() for t in case((37, 70)))
    expected = elastic_deform(image, control)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = elastic_deform(image, control)
    out.zero_()
    graph.replay()
    assert torch.equal(out, expected)


def test_offsets_beyond_2_to_the_31_elements() -> None:
    """The last of 33 volumes of 2**26 voxels starts beyond them, its last row beyond 2**31 elements."""
    if torch.cuda.mem_get_info()[0] < 20e9:
        pytest.skip("needs 20 GB of free device memory")
    image = torch.zeros(33, 1, 256, 512, 512, dtype=torch.float32, device="cuda")
    image[-1] = torch.rand(1, 256, 512, 512, device="cuda")
    control = random_control(1, [6] * 3, image.shape[2:], device="cuda")
    whole, alone = elastic_deform(image, control), elastic_deform(image[-1:].clone(), control)
    assert torch.equal(whole[-1:], alone)
    assert not whole[:-1].any()
    del image, whole
    big = torch.rand(1, 1, 9, 2**14, 2**14, device="cuda")  # one volume beyond them
    assert torch.equal(elastic_deform(big, backend="triton"), big)


def test_the_random_deformation_of_a_seed_is_that_of_the_cpu() -> None:
    augment = RandomElasticDeform(grid=6, rotation=10, zoom=(0.9, 1.1), p=1.0)
    batch = {
        "image": torch.rand(3, 1, 64, 80),
        "mask": torch.randint(0, 3, (3, 64, 80)),
        "landmarks": torch.rand(3, 5, 2) * 60,
    }
    host = augment(dict(batch), torch.Generator().manual_seed(0))
    device = augment({k: v.cuda() for k, v in batch.items()}, torch.Generator().manual_seed(0))
    assert (device["image"].cpu() - host["image"]).abs().max() <= 1e-5
    assert (device["mask"].cpu() != host["mask"]).float().mean() <= 1e-3
    assert (device["landmarks"].cpu() - host["landmarks"]).abs().max() <= 1e-3


def test_compiled_and_eager_calls_agree() -> None:
    image, control, _ = (t.cuda() for t in case((37, 70)))
    compiled = torch.compile(lambda i, c: elastic_deform(i, c) * 2, fullgraph=True)
    assert torch.allclose(compiled(image, control), elastic_deform(image, control) * 2, atol=1e-6)
