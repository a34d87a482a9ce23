from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "elastic_deform_interpreted.py"
HOST = Path(__file__).parent / "elastic_deform_host.py"
COMPILED = Path(__file__).parent / "elastic_deform_compiled.py"


def run(arguments: list[str], **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_interpreted_kernels_agree_with_the_torch_formulation_on_a_small_image() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    assert run([str(SCRIPT), "0"], TRITON_INTERPRET="1") == "agree"


def test_labels_of_equal_weight_are_decided_as_in_the_compiled_cpu_code() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    assert run([str(SCRIPT), "ties"], TRITON_INTERPRET="1") == "agree"


def test_launches_go_to_the_device_of_their_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton launches on the current device, which need not be that of the tensors."""
    pytest.importorskip("triton", reason="Triton is not installed")
    import contextlib

    import torch

    from medzoo.core.ops.elastic_deform import cuda
    from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp

    current: list[object] = []

    @contextlib.contextmanager
    def device_of(tensor: torch.Tensor) -> Iterator[None]:
        current.append(tensor)
        yield
        current.pop()

    class Kernels:
        def forward(self, warp: Warp) -> list[torch.Tensor]:
            assert current[0] is warp.field
            return warp.inputs

        def backward(self, grads: list[torch.Tensor], warp: Warp, need: list[bool]) -> object:
            assert current[0] is warp.field
            return grads

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(cuda, "TritonBackend", Kernels)
    image, field = [torch.rand(1, 1, 4, 4)], torch.zeros(1, 2, 4, 4)
    where, rules = Frame(1, [4, 4], [0, 0], [4, 4]), [Rule(1, 0, 0.0)]
    assert cuda.CudaBackend().forward(Warp(image, field, None, where, rules)) is image
    assert cuda.CudaBackend().backward(image, Warp(image, field, None, where, rules), [True, False, True]) is image
    assert current == []


def test_the_host_prepares_a_launch_with_few_operations() -> None:
    """A small call waits for them: 95 and 140 forward, 228 and 319 backward while tables were made anew each time."""
    pytest.importorskip("triton", reason="Triton is not installed")
    counts = [[int(n) for n in line.split()] for line in run([str(HOST)], TRITON_INTERPRET="1").splitlines()]
    for (nd, forward, backward), most in zip(counts, [(10, 20), (14, 24)], strict=True):
        assert forward <= most[0], nd
        assert backward <= most[1], nd


@pytest.mark.parametrize("batch", [65_536, 3])
def test_the_grid_of_a_launch_has_one_axis_without_the_limit_of_65535(batch: int) -> None:
    """Tiles and samples are on the first axis of the grid, which ends at 2**31 - 1; the others end at 65,535."""
    pytest.importorskip("triton", reason="Triton is not installed")
    import torch

    from medzoo.core.ops.elastic_deform import cuda, triton_kernels
    from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp

    class Kernel:
        grid: tuple[int, ...] = ()

        def __getitem__(self, grid: tuple[int, ...]) -> object:
            self.grid = grid
            return lambda *args, **options: None

    kernels = {
        name: Kernel() for name in ("lines_kernel", "forward_kernel", "image_gradient_kernel", "field_gradient_kernel")
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, kernel in kernels.items():
            patch.setattr(triton_kernels, name, kernel)
        image, field, where = torch.zeros(batch, 1, 2, 3), torch.zeros(1, 2, 4, 4), Frame(1, [2, 3], [0, 0], [2, 3])
        for order in (1, 0):
            rules = [Rule(order, 0, 0.0)]
            (out,) = cuda.TritonBackend().forward(Warp([image], field, None, where, rules))
            cuda.TritonBackend().backward([out], Warp([image], field, None, where, rules), [order == 1, False, True])
    assert all(kernel.grid[0] >= batch for name, kernel in kernels.items() if name != "lines_kernel")
    for kernel in kernels.values():  # one field for all samples has its rows evaluated once
        assert all(n <= 65_535 for n in kernel.grid[1:])


@pytest.mark.slow
def test_interpreted_kernels_agree_in_every_mode() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    assert run([str(SCRIPT)], TRITON_INTERPRET="1") == "agree"


def test_kernels_compile_as_launched_where_sizes_are_1(tmp_path: Path) -> None:
    """Triton makes an integer argument that is 1 a constant: depth in 2-D, a row, a column, a channel, a batch."""
    pytest.importorskip("triton", reason="Triton is not installed")
    assert run([str(COMPILED), "90", "quick"], TRITON_CACHE_DIR=str(tmp_path)).startswith("compiled")


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90", "100"])
def test_all_kernels_compile_as_launched(tmp_path: Path, capability: str) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    assert run([str(COMPILED), capability], TRITON_CACHE_DIR=str(tmp_path)).startswith("compiled")


def test_kernels_that_do_not_compile_leave_the_torch_formulation_and_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    import torch

    from medzoo.core.ops.elastic_deform import cuda
    from medzoo.core.ops.elastic_deform.fallback import TorchBackend
    from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp

    monkeypatch.setattr(cuda, "_given_up", [])
    # There is no driver here, so every launch fails as where no kernel can be built.
    monkeypatch.setattr(cuda, "_build_errors", lambda: (RuntimeError,))
    image, field = torch.rand(2, 1, 9, 20), torch.rand(1, 2, 5, 6)
    where, rules = Frame(1, [9, 20], [0, 0], [9, 20]), [Rule(1, 0, 0.0)]
    with caplog.at_level("WARNING"):
        (found,) = cuda.CudaBackend().forward(Warp([image], field, None, where, rules))
    (expected,) = TorchBackend().forward(Warp([image], field, None, where, rules))
    assert torch.equal(found, expected)
    assert ["slower torch formulation" in record.getMessage() for record in caplog.records] == [True]
    assert cuda.kernels() is None
    assert "do not compile here" in cuda.reason()


def test_gpu_results_equal_the_cpu_for_one_seed() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from medzoo.core.ops.elastic_deform import elastic_deform, random_control

    for size in ((200, 300), (40, 50, 70)):
        host, device = (
            random_control(
                2, [6] * len(size), size, max_displacement=3, generator=torch.Generator().manual_seed(1), device=d
            )
            for d in ("cpu", "cuda")
        )
        assert torch.equal(host, device.cpu())
        image = torch.rand(2, 2, *size)
        assert (elastic_deform(image.cuda(), device).cpu() - elastic_deform(image, host)).abs().max() <= 2e-6
