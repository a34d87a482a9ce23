"""Two halves of images that share no patient: one to learn from, the other for thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def halves(patients: Sequence[str], first: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the places of the images of each half, `(n,)` int64; the second has none where one patient has all.

    Patients are taken in random order, each with all images, until the first half has as many as it shall.

    Args:
        patients: Of each image; an empty name is a patient of its own.
        first: Images that the first half has, or a few more so as not to divide a patient.
        seed: Of the order.
    """
    members: dict[str, list[int]] = {}
    for place, name in enumerate(patients):
        members.setdefault(name or f"\0{place}", []).append(place)
    own = list(members.values())
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed)).tolist()
    parts: tuple[list[int], list[int]] = ([], [])
    for number in order:
        parts[len(parts[0]) >= first].extend(own[number])
    return torch.tensor(parts[0], dtype=torch.int64), torch.tensor(parts[1], dtype=torch.int64)
