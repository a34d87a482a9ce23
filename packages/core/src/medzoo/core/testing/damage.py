"""Damaged copies of files, for tests of readers."""

from __future__ import annotations

import numpy as np

KINDS = ("truncate", "header", "bits", "random", "hole", "insert")
"""What can happen to a file."""


def mutant(content: bytes, kind: str, seed: int, header: int) -> bytes:
    """Return a damaged copy, the same for the same seed.

    Args:
        content: The sound file.
        kind: One of `KINDS`.
        seed: Which of the copies.
        header: Bytes from the start that `header` damages.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    raw = bytearray(content)
    size = len(raw)
    if kind == "truncate":
        return bytes(raw[: rng.integers(size)])
    if kind == "random":
        return rng.bytes(int(rng.integers(0, size))) if seed else b""
    if kind in ("header", "bits"):
        for place in rng.integers(min(header, size) if kind == "header" else size, size=rng.integers(1, 9)):
            raw[place] = rng.integers(256) if kind == "header" else raw[place] ^ (1 << int(rng.integers(8)))
        return bytes(raw)
    start = int(rng.integers(size))
    if kind == "hole":
        stop = min(size, start + int(rng.integers(1, max(2, size // 4))))
        return bytes(raw[:start] + (bytes(stop - start) if seed % 2 else b"") + raw[stop:])
    return bytes(raw[:start] + rng.bytes(int(rng.integers(1, 64))) + raw[start:])
