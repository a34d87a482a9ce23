from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import displacement_field, elastic_deform, warp


def draw(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth_control(nd: int) -> Tensor:
    """A field whose fractions stay within [0.1, 0.9], where linear interpolation is differentiable."""
    return 0.5 + 0.35 * (draw(1, 1, nd, *[4] * nd) * 2 - 1) / 3


@pytest.mark.parametrize("size", [(6, 7), (5, 6, 7)])
@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
def test_gradcheck_of_image_and_control(backend: str, size: tuple[int, ...], padding: str) -> None:
    nd = len(size)
    control = smooth_control(nd)
    field = displacement_field(control, size)
    assert field.frac().min() > 0.1
    assert field.frac().max() < 0.9
    image = draw(2, 1, 2, *size).requires_grad_()
    control.requires_grad_()
    # The last voxels read across the border, where the operator has a kink: they are left out.
    inner = (slice(None), slice(None), *[slice(0, -1)] * nd)
    quick = backend == "torch" and nd == 3
    run = lambda i, c: elastic_deform(i, c, padding=padding, backend=backend)[inner]  # noqa: E731
    assert torch.autograd.gradcheck(run, (image, control), fast_mode=quick)


@pytest.mark.parametrize("size", [(7, 8), (5, 6, 7)])
def test_gradcheck_of_the_affine_map(backend: str, size: tuple[int, ...]) -> None:
    nd = len(size)
    affine = (torch.eye(nd, nd + 1, dtype=torch.float64) + 0.02 * (draw(3, 1, nd, nd + 1) - 0.5))[:1]
    affine[:, :, nd] = 0.45
    affine.requires_grad_()
    image = draw(4, 1, 1, *size)
    inner = (slice(None), slice(None), *[slice(0, -1)] * nd)
    assert torch.autograd.gradcheck(lambda a: elastic_deform(image, affine=a, backend=backend)[inner], (affine,))


def test_gradcheck_of_the_dense_field(backend: str) -> None:
    d = (0.2 + 0.6 * draw(5, 1, 2, 6, 7)).requires_grad_()
    image = draw(6, 2, 2, 6, 7).requires_grad_()
    inner = (..., slice(0, -1), slice(0, -1))
    assert torch.autograd.gradcheck(lambda i, x: warp(i, x, backend=backend)[inner], (image, d))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("padding", ["border", "zeros", "reflection", 0.0])
def test_backward_is_the_adjoint_of_the_forward(backend: str, order: int, padding: str | float) -> None:
    for size in [(23, 40), (9, 14, 35)]:
        nd = len(size)
        control = (draw(7, 2, nd, *[5] * nd) - 0.5) * 14
        x, y = draw(8, 2, 2, *size).float().requires_grad_(), draw(9, 2, 2, *size).float()
        out = elastic_deform(x, control.float(), order=order, padding=padding, backend=backend)
        (back,) = torch.autograd.grad(out, x, y)
        left, right = (out.double() * y).sum(), (x.double() * back).sum()
        assert abs(left - right) <= 1e-6 * abs(left)


@pytest.mark.parametrize("size", [(40, 90), (17, 20, 70)])
@pytest.mark.parametrize("shared", [False, True])
def test_single_precision_gradients_equal_the_double_precision_torch_path(
    native: str, size: tuple[int, ...], shared: bool
) -> None:
    nd = len(size)
    control = (draw(10, 1 if shared else 2, nd, *[6] * nd) - 0.5) * 6
    affine = torch.eye(nd, nd + 1, dtype=torch.float64)[None] + 0.05 * (draw(11, 2, nd, nd + 1) - 0.5)
    image, g = draw(12, 2, 3, *size), draw(13, 2, 3, *size)
    # A smooth image: the gradient of linear interpolation jumps between cells, and rounding may choose either side.
    image = torch.nn.functional.interpolate(
        image[(..., *[slice(0, 4)] * nd)], size=size, mode="bilinear" if nd == 2 else "trilinear", align_corners=True
    )
    leaves = [t.clone().requires_grad_() for t in (image, control, affine)]
    expected = torch.autograd.grad(elastic_deform(leaves[0], leaves[1], affine=leaves[2], backend="torch"), leaves, g)
    leaves = [t.float().requires_grad_() for t in (image, control)] + [affine.clone().requires_grad_()]
    found = torch.autograd.grad(
        elastic_deform(leaves[0], leaves[1], affine=leaves[2], backend=native), leaves, g.float()
    )
    for f, e in zip(found, expected, strict=True):
        assert (f.double() - e).abs().max() <= 1e-5 * e.abs().max()


def test_only_the_gradients_that_are_asked_for_are_returned(backend: str) -> None:
    image, control = draw(14, 1, 1, 12, 20), draw(15, 1, 2, 4, 4)
    for wants in ((True, False), (False, True)):
        i, c = image.clone().requires_grad_(wants[0]), control.clone().requires_grad_(wants[1])
        elastic_deform(i, c, backend=backend).sum().backward()
        assert (i.grad is not None, c.grad is not None) == wants


def test_labels_beside_an_image_leave_its_gradient_alone(backend: str) -> None:
    image, labels = draw(16, 1, 1, 12, 20), torch.randint(0, 4, (1, 1, 12, 20))
    control = (draw(17, 1, 2, 4, 4) * 4).requires_grad_()
    (alone,) = torch.autograd.grad(elastic_deform(image, control, backend=backend).sum(), control)
    out = elastic_deform([image, labels], control, order=[1, "label"], backend=backend)
    (beside,) = torch.autograd.grad(out[0].sum(), control)
    assert torch.equal(alone, beside)
    assert not out[1].requires_grad


def test_nearest_gives_no_gradient_to_the_control(native: str) -> None:
    control = (draw(18, 1, 2, 4, 4) * 4).requires_grad_()
    image = draw(19, 1, 1, 12, 20).requires_grad_()
    out = elastic_deform(image, control, order=0, backend=native)
    found = torch.autograd.grad(out.sum(), [image, control], allow_unused=True)
    assert found[0].sum() == out.numel()
    assert found[1] is None or not found[1].any()


def test_second_derivatives_are_refused_in_one_sentence(native: str) -> None:
    control = draw(20, 1, 2, 4, 4).requires_grad_()
    (g,) = torch.autograd.grad(
        elastic_deform(draw(21, 1, 1, 9, 9), control, backend=native).square().sum(), control, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="differentiable once"):
        g.sum().backward()


def test_padding_beyond_the_border_gives_no_gradient_across_it(backend: str) -> None:
    image = draw(22, 1, 1, 8, 8).requires_grad_()
    far = torch.full((1, 2, 4, 4), 50.0, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(elastic_deform(image, far, backend=backend).sum(), far)
    assert not g.any()
