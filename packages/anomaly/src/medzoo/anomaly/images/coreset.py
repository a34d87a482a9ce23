"""The greedy k-centre coreset of PatchCore, exact, and nearest neighbours in pieces that fit into memory."""

from __future__ import annotations

import torch
from torch import Tensor

_PIECE = 2**24  # distances held at a time


def coreset(points: Tensor, count: int, start: int = 0) -> Tensor:
    """Return the indices of `count` points, each the farthest from those before it.

    A step costs one product of the points with one vector: with the squared norms kept,
    `‖x − c‖² = ‖x‖² − 2x·c + ‖c‖²` needs no difference of all points to be written.

    Args:
        points: `(N, C)`.
        count: From 1 to N.
        start: Index of the first point.

    Returns:
        `(count,)` int64, in the order of choice.

    Raises:
        ValueError: `count` or `start` is out of range.
    """
    if not 1 <= count <= len(points) or not 0 <= start < len(points):
        raise ValueError(f"count must be from 1 to {len(points)} and start below it, got {count} and {start}")
    centred = points - points.mean(0)  # small norms lose fewer digits in the difference
    norms = centred.square().sum(1)
    nearest = torch.full_like(norms, torch.inf)
    chosen = torch.empty(count, dtype=torch.long)
    index = start
    for step in range(count):
        chosen[step] = index
        nearest = torch.minimum(nearest, torch.addmv(norms + norms[index], centred, centred[index], alpha=-2))
        nearest[index] = -1  # rounding may leave a chosen point a hair away from itself
        index = int(nearest.argmax())
    return chosen


def neighbours(queries: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Return Euclidean distances to the k nearest rows of the bank, and their indices, `(N, k)` each, nearest first."""
    k = min(k, len(bank))
    if torch.compiler.is_exporting():  # a graph has no loop over pieces whose number its input says
        crossed = queries.square().sum(1, keepdim=True) + bank.square().sum(1) - 2 * queries @ bank.T
        found = crossed.clamp_min(0).sqrt().topk(k, largest=False)
        return found.values, found.indices
    rows = max(1, _PIECE // len(bank))
    parts = [
        torch.cdist(queries[i : i + rows], bank, compute_mode="use_mm_for_euclid_dist").topk(k, largest=False)
        for i in range(0, len(queries), rows)
    ]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])
