"""Where random numbers of a batch come from: one generator for all, or one an image, whose draws hang on no other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Source = torch.Generator | tuple[torch.Generator, ...]
"""One generator for a batch, whose draws then hang on all of it, or one for each image."""


def parts(x: Tensor, source: Source) -> Iterator[tuple[Tensor, torch.Generator]]:
    """Yield what shares a generator, in order: the whole batch `(B, …)`, or the images one by one as `(1, …)`."""
    return iter([(x, source)]) if isinstance(source, torch.Generator) else zip(x.split(1), source, strict=True)


def source_of(source: Source, rows: Tensor) -> Source:
    """Return what some images of a batch draw from, `rows` `(b,)` int64 being their places."""
    return source if isinstance(source, torch.Generator) else tuple(source[place] for place in rows.tolist())


def shared(source: Source) -> torch.Generator:
    """Return what draws that no image has for itself come from, such as an order of the images."""
    return source if isinstance(source, torch.Generator) else source[0]


def uniform(like: Tensor, source: Source) -> Tensor:
    """Return numbers from [0, 1) of a tensor's shape; drawn where the generator is, equal on every device after it."""
    drawn = [torch.rand(part.shape, generator=own, device=own.device) for part, own in parts(like, source)]
    return torch.cat(drawn).to(like.device)


def normal(like: Tensor, source: Source) -> Tensor:
    """Return numbers from the normal distribution of a tensor's shape, likewise."""
    drawn = [torch.randn(part.shape, generator=own, device=own.device) for part, own in parts(like, source)]
    return torch.cat(drawn).to(like.device)
