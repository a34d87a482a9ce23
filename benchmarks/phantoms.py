"""Images per second of one core, by anatomy: `python benchmarks/phantoms.py [side] [images]`.

Seconds are those of the process, so that neighbours on a busy machine do not count.
"""

from __future__ import annotations

import os
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded

from medzoo.core.phantoms import ANATOMIES, radiograph  # noqa: E402


def main(side: int = 256, images: int = 200) -> None:
    for anatomy in ANATOMIES:
        radiograph(anatomy, 0, side)  # fills the caches of interpolation weights
        blocks = []
        for block in range(5):
            start = time.process_time()
            for number in range(images // 5):
                radiograph(anatomy, (block, number), side)
            blocks.append(images // 5 / (time.process_time() - start))
        blocks.sort()
        print(f"{anatomy:6s} {side}x{side}: {blocks[2]:6.1f} images/s (median of 5 blocks), {blocks[-1]:6.1f} (best)")


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:3]))
