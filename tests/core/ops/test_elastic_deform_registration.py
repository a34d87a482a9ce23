from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import medzoo.core.ops.elastic_deform.op  # noqa: F401 - registers the operator
from medzoo.core.ops.elastic_deform import RandomElasticDeform, elastic_deform, transform_points


def arguments(nd: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> tuple[Any, ...]:
    size = [9, 12, 14][3 - nd :]
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 2, *size, generator=generator, dtype=dtype).requires_grad_(grad)
    coef = torch.rand(2, nd, *[5] * nd, generator=generator, dtype=dtype).requires_grad_(grad)
    affine = (0.1 * torch.rand(1, nd, nd + 1, generator=generator, dtype=torch.float64)).requires_grad_(grad)
    return [image], coef, affine, 2, size, [0] * nd, size, [1], [0], [0.0]


@pytest.mark.parametrize("nd", [2, 3])
def test_opcheck_passes_for_forward_and_backward(compiled: str, nd: int) -> None:
    torch.library.opcheck(torch.ops.medzoo.elastic_warp.default, arguments(nd, torch.float64, grad=True))
    inputs, *rest = arguments(nd)
    grads = [torch.ones_like(inputs[0])]
    torch.library.opcheck(torch.ops.medzoo.elastic_warp_backward.default, (grads, inputs, *rest, [True, True, True]))


def test_opcheck_passes_with_labels_and_without_an_affine_map(compiled: str) -> None:
    inputs, coef, _, *rest = arguments(2)
    labels = torch.randint(0, 5, (2, 1, *rest[1]))
    args = ([inputs[0], labels], coef, None, *rest[:4], [1, 2], [0, 1], [0.0, 3.0])
    torch.library.opcheck(torch.ops.medzoo.elastic_warp.default, args)


def test_fake_tensors_with_symbolic_sizes_get_the_right_shape() -> None:
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        _, coef, affine, kind, _, *rest = arguments(3)
        image = mode.from_tensor(torch.zeros(2, 2, 9, 12, 14))
        out = torch.ops.medzoo.elastic_warp([image], coef, affine, kind, list(image.shape[2:]), *rest)
    assert out[0].shape == (2, 2, 9, 12, 14)


def loss(image: Tensor, labels: Tensor, control: Tensor, affine: Tensor) -> tuple[Tensor, Tensor]:
    warped, moved = elastic_deform(
        [image, labels], control, order=[1, "label"], affine=affine, padding=["zeros", "border"]
    )
    return warped.square().mean(), moved


@pytest.mark.parametrize("dynamic", [False, True])
def test_torch_compile_takes_the_whole_function_and_gives_the_same_gradients(dynamic: bool) -> None:
    torch._dynamo.reset()
    traced = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for size in ((16, 20), (18, 24)):
        generator = torch.Generator().manual_seed(1)
        image = torch.rand(2, 1, *size, generator=generator).requires_grad_()
        labels = torch.randint(0, 4, (2, 1, *size), generator=generator)
        control = (torch.rand(2, 2, 5, 6, generator=generator) * 4).requires_grad_()
        affine = torch.eye(2, 3)[None].repeat(2, 1, 1).requires_grad_()
        expected, expected_labels = loss(image, labels, control, affine)
        found, found_labels = traced(image, labels, control, affine)
        assert torch.equal(found_labels, expected_labels)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        leaves = [image, control, affine]
        for f, e in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
            torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-7)


class Warper(nn.Module):
    def forward(self, image: Tensor, control: Tensor) -> Tensor:
        return elastic_deform(image, control, padding="reflection")


def test_torch_export_keeps_the_operator_in_the_graph() -> None:
    image, control = torch.rand(1, 1, 12, 14, 16), torch.rand(1, 3, 4, 5, 6)
    program = torch.export.export(Warper(), (image, control))
    assert any("elastic_warp" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(image, control), Warper()(image, control), rtol=1e-6, atol=1e-6)


def test_inference_mode_and_parameters_work(backend: str) -> None:
    image, control = torch.rand(1, 1, 12, 14), torch.rand(1, 2, 11, 13)
    with torch.inference_mode():  # a grid that no other test has: what is kept of this call must serve the next one
        inside = elastic_deform(image, control, backend=backend)
    assert torch.equal(inside, elastic_deform(image, control, backend=backend))
    elastic_deform(image, control.requires_grad_(), backend=backend).sum().backward()
    assert control.grad is not None
    assert elastic_deform(nn.Parameter(image), control).requires_grad


def test_meta_tensors_flow_through_the_whole_call() -> None:
    out = elastic_deform(
        torch.empty(2, 3, 20, 30, device="meta"), torch.empty(2, 2, 5, 5, device="meta"), out_size=(7, 8)
    )
    assert out.shape == (2, 3, 7, 8)


def test_the_compiled_backend_is_reached_through_the_dispatcher(compiled: str) -> None:
    image, control = torch.rand(1, 1, 20, 30), torch.rand(1, 2, 5, 5)
    with torch.profiler.profile() as profile:
        elastic_deform(image, control.requires_grad_())
    assert any(event.key == "medzoo::elastic_warp" for event in profile.key_averages())


def test_modules_pickle_with_their_settings() -> None:
    module = pickle.loads(pickle.dumps(RandomElasticDeform(grid=5, rms=2.0, rotation=10)))
    a, b = (module.sample(2, (20, 20), torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert transform_points(torch.zeros(2, 0, 2), a["control"], (20, 20)).points.shape == (2, 0, 2)
