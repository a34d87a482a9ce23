"""How well the key points of one image are found in others: the label-free similarity of SCP (arXiv 2112.04386)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.landmark.matching.search import take_templates

Maps = list[Tensor]
"""Embeddings `(B, L, H / s, W / s)` of length 1 at each cell, for each stride, the coarsest first."""


def unit(maps: Sequence[Tensor]) -> Maps:
    """Bring each embedding to length 1, so that inner products are cosines."""
    return [F.normalize(m.float(), dim=1, eps=1e-8) for m in maps]


def templates_of(maps: Maps, points: Sequence[Tensor], strides: Sequence[int]) -> list[list[Tensor]]:
    """Read the embeddings at the key points of each image.

    Args:
        maps: Of B images.
        points: `(P, 2)` of each image in input pixels; P may differ.
        strides: Strides of the maps.

    Returns:
        For each image `(P, L)` at each stride.
    """
    out = []
    for b, places in enumerate(points):
        taken = take_templates([m[b : b + 1] for m in maps], places[None].to(maps[0]), strides)
        out.append([t[0] for t in taken])
    return out


def best_match(maps: Maps, templates: Sequence[Tensor]) -> Tensor:
    r"""Similarity of each template at its best place, $\max_u \prod_s \max(0, c_s(u))$.

    Only the product counts: the public code takes the maximum over all strides too, where the coarsest nearly always
    wins. Coarse strides reach the finest by repetition, which leaves the maximum as it is at full resolution.

    Args:
        maps: Of B images.
        templates: `(P, L)` for each stride.

    Returns:
        `(B, P)` in [0, 1].
    """
    total: Tensor | None = None
    for m, template in zip(maps, templates, strict=True):
        cosine = torch.einsum("pl,blhw->bphw", template, m).clamp_(0, 1)
        if total is not None:
            if total.shape[-2:] != cosine.shape[-2:]:
                total = F.interpolate(total, size=cosine.shape[-2:], mode="nearest")
            cosine *= total
        total = cosine
    assert total is not None
    return total.flatten(2).amax(dim=2)


def representativeness(maps: Maps, templates: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean similarity of each template image's key points in each image, `m[i, j]` of the paper.

    Args:
        maps: Of B images j.
        templates: For each of N images i `(P_i, L)` at each stride.

    Returns:
        `(N, B)` in [0, 1]; 0 for an image without key points, which shows nothing to match.
    """
    rows = [best_match(maps, t).mean(dim=1) if len(t[0]) else maps[0].new_zeros(len(maps[0])) for t in templates]
    return torch.stack(rows)
