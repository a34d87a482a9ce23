"""The layout of a printed record: three rows of four leads in turn, and lead II."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))
"""Leads of the three rows of a printout, by their place in I II III aVR aVL aVF V1 … V6; each a quarter of the time."""
STRIP = 1
"""Lead of the fourth row, which is shown whole: II."""


def printout(records: Tensor) -> Tensor:
    """Return 12 leads `(B, 12, T)` as the four rows of a report, `(B, 4, T)`: three of four leads in turn, and lead II.

    Args:
        records: Standard order, T a multiple of 4.
    """
    quarter = records.shape[-1] // 4
    parts = [
        torch.cat([records[:, lead, k * quarter : (k + 1) * quarter] for k, lead in enumerate(row)], dim=-1)
        for row in ROWS
    ]
    return torch.stack([*parts, records[:, STRIP]], dim=1)


def unprinted(rows: Tensor) -> Tensor:
    """Bring a map `(4, T)` of a printout to 12 leads `(12, T)`.

    What a lead does not show at a time takes the mean of the rows at that time, since nothing else is known of it; lead
    II is that of the strip.
    """
    length = rows.shape[-1]
    out = rows.mean(0).expand(12, length).clone()
    for row, leads in enumerate(ROWS):
        for k, lead in enumerate(leads):
            part = slice(k * (length // 4), (k + 1) * (length // 4))
            out[lead, part] = rows[row, part]
    out[STRIP] = rows[3]
    return out
