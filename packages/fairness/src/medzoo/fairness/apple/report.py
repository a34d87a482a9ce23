"""What a test of APPLE says of latents: how well the group is read from them, and how far they were moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.fairness.apple.losses import pooled, probe_accuracy

Features = tuple[str, int, list[float], list[float], float]
"""Of an image: id, group, features of the latents before and after, size of the perturbation beside the latent's."""


def features(ids: Sequence[str], groups: Tensor, before: Sequence[Tensor], after: Sequence[Tensor]) -> list[Features]:
    """Return what is kept of the latents of a batch, one `(B, C, h, w)` of each perturbed layer."""
    moved = [
        (b - a).flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1).clamp(min=1e-12)
        for a, b in zip(before, after, strict=True)
    ]
    seen = [torch.cat([pooled(z) for z in latents], 1).double().tolist() for latents in (before, after)]
    parts = (*seen, torch.stack(moved).mean(0).tolist())
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


def channel_spreads(batches: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """Return the standard deviation of each channel over all images and places, `(C,)` for each layer.

    Args:
        batches: Latents `(B, C, h, w)` of each layer.
    """
    sums: list[list[Tensor]] = []
    for latents in batches:
        own = [latent.double().transpose(1, 0).flatten(1).cpu() for latent in latents]
        sums.append([torch.stack([torch.full_like(z[:, 0], z.shape[1]), z.sum(1), (z**2).sum(1)]) for z in own])
    found: list[Tensor] = []
    for each in zip(*gather_all(sums), strict=True):
        count, first, second = torch.stack(each).sum(0)
        found.append((second / count - (first / count) ** 2).clamp(min=0).sqrt())
    return found


def without(name: str) -> str:
    """Return the name of a figure of the network without perturbation, `<source>[/<attribute>]/base_<figure>…`."""
    parts = name.split("/")
    place = min(2, len(parts) - 1)
    return "/".join((*parts[:place], f"base_{parts[place]}", *parts[place + 1 :]))
