"""Randomness as a function of where a run stands, so that a resumed run draws what an uninterrupted one would have."""

from __future__ import annotations

import numpy as np


def derive_seed(*values: int) -> int:
    """Mix non-negative integers, such as (seed, epoch, batch, rank), into one seed in `[0, 2**63)`.

    Unlike sums or products, different tuples give unrelated seeds; unlike `hash`, every process gets the same.
    """
    high, low = np.random.SeedSequence(values).generate_state(2, np.uint32).tolist()
    return int(high >> 1) << 32 | int(low)
