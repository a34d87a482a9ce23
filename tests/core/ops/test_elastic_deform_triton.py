from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "elastic_deform_interpreted.py"
COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from medzoo.core.ops.elastic_deform import triton_kernels as kernels

pointers = dict.fromkeys(
    ["image", "out", "field", "ts", "fills", "grad_out", "grad_image", "grad_field", "grad_rows", "basis", "scales"],
    "*fp32",
) | {"affine": "*fp64", "spans": "*i32"}

def build(kernel, constants):
    signature = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in kernel.arg_names}
    values = {(kernel.arg_names.index(n),): v for n, v in constants.items()}
    source = ASTSource(kernel, signature, values)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert len(built.asm["cubin"]) > 1000

common = {"DENSE": False, "AFFINE": True, "PADDING": 0}
for nd in (2, 3):
    build(kernels.forward_kernel, {**common, "ND": nd, "ORDER": 1, "TY": 4, "TX": 128})
    build(kernels.backward_kernel, {**common, "ND": nd, "NEED_IMAGE": True, "NEED_FIELD": True, "FIXED": False, "TY":
    16, "TX": 32, "TN": 16})
build(kernels.forward_kernel, {**common, "ND": 3, "ORDER": 2, "TY": 4, "TX": 128})
build(kernels.nearest_backward_kernel, {**common, "ND": 3, "FIXED": False, "TY": 4, "TX": 128})
print("compiled")
"""


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


@pytest.mark.slow
def test_kernels_compile_for_sm90_without_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    assert run(["-c", COMPILE], TRITON_CACHE_DIR=str(tmp_path)) == "compiled"


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
