"""What a test of APPLE says of latents: how well the group is read from them, and how far they were moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.fairness.apple.losses import pooled, probe_accuracy

Features = tuple[str, int, list[float], list[float], float]
"""Of an image: id, group, features of the latent before and after, size of the perturbation beside the latent's."""


def features(ids: Sequence[str], groups: Tensor, before: Tensor, after: Tensor) -> list[Features]:
    """Return what is kept of the latents `(B, C, h, w)` of a batch."""
    sizes = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1).clamp(min=1e-12)
    parts = (pooled(before).double().tolist(), pooled(after).double().tolist(), sizes.tolist())
    return list(zip(ids, groups.tolist(), *parts, strict=True))


def probes(known: list[Features], tested: list[Features], groups: int) -> dict[str, float]:
    """Return the figures of all processes: `base_probe`, `probe` and `perturbation`.

    Args:
        known: Of the training images, from which a new network learns to tell the groups.
        tested: Of the test images.
        groups: Number of groups.
    """
    train, test = (sorted(gather_all(rows)) for rows in (known, tested))
    found = {"perturbation": sum(row[4] for row in test) / len(test)}
    for name, column in (("base_probe", 2), ("probe", 3)):
        (x, own), (y, truth) = (
            (torch.tensor([row[column] for row in rows]), torch.tensor([row[1] for row in rows]))
            for rows in (train, test)
        )
        found[name] = probe_accuracy(x, own, y, truth, groups)
    return found


def channel_spread(latents: Iterable[Tensor]) -> Tensor:
    """Return the standard deviation of each channel over all images and places of latents `(B, C, h, w)`."""
    sums: list[Tensor] = []
    for latent in latents:
        own = latent.double().transpose(1, 0).flatten(1).cpu()
        count = torch.full((len(own),), own.shape[1], dtype=torch.float64)
        sums.append(torch.stack([count, own.sum(1), (own**2).sum(1)]))
    count, first, second = torch.stack(gather_all(sums)).sum(0)
    spread: Tensor = (second / count - (first / count) ** 2).clamp(min=0).sqrt()
    return spread


def without(name: str) -> str:
    """Return the name of a figure of the network without perturbation, `<source>[/<attribute>]/base_<figure>…`."""
    parts = name.split("/")
    place = min(2, len(parts) - 1)
    return "/".join((*parts[:place], f"base_{parts[place]}", *parts[place + 1 :]))
