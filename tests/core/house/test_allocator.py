"""Memory that is given back serves the next step; only where the C library is glibc."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
from medzoo.core.runs.allocator import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.full({size}, step, np.uint8) for _ in range(6)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize("size", [16 * 2**20, 48 * 2**20])  # glibc maps blocks above 32 MiB on their own by default
def test_steps_get_the_pages_of_the_step_before(size: int) -> None:
    fresh, kept = (
        int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
        for program in (STEPS.format(keep=keep, size=size) for keep in (False, True))
    )
    assert kept < 0.05 * fresh
