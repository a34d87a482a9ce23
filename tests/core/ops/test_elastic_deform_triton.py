from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "elastic_deform_interpreted.py"
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
    from medzoo.core.ops.elastic_deform.sampling import Frame, Rule

    monkeypatch.setattr(cuda, "_given_up", [])
    # There is no driver here, so every launch fails as where no kernel can be built.
    monkeypatch.setattr(cuda, "_build_errors", lambda: (RuntimeError,))
    image, field = torch.rand(2, 1, 9, 20), torch.rand(1, 2, 5, 6)
    where, rules = Frame(1, [9, 20], [0, 0], [9, 20]), [Rule(1, 0, 0.0)]
    with caplog.at_level("WARNING"):
        (found,) = cuda.CudaBackend().forward([image], field, None, where, rules)
    (expected,) = TorchBackend().forward([image], field, None, where, rules)
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
