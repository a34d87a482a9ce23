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
    assert keep_freed_memory(large_blocks={large})
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.full({size}, step, np.uint8) for _ in range(6)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(  # glibc maps blocks above 32 MiB on their own
    ("large", "mib", "gets"),
    [
        (True, 16, True),
        (True, 48, True),
        (False, 16, True),
        (False, 48, False),
    ],
)
def test_steps_get_the_pages_of_the_step_before(large: bool, mib: int, gets: bool) -> None:
    fresh, kept = (
        int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
        for program in (STEPS.format(keep=keep, large=large, size=mib * 2**20) for keep in (False, True))
    )
    assert (kept < 0.05 * fresh) == gets
