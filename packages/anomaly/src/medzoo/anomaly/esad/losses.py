"""Restoration, entropy and agreement: normal images are to be kept and have short codes, abnormal ones neither."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from medzoo.anomaly.esad.network import lengths

_LEAST = 1e-3  # added to a length before its inverse is taken

Spoil = Callable[[Tensor, Generator], Tensor]
"""ν: from images `(B, C, H, W)` to images in which their information is lost."""


def shuffled(images: Tensor, generator: Generator) -> Tensor:
    """Return the pixels of each image in a random order, the same for all of them."""
    order = torch.randperm(images[0, 0].numel(), generator=generator, device=images.device)
    return images.flatten(2)[:, :, order].reshape(images.shape)


def noisy(images: Tensor, generator: Generator) -> Tensor:
    """Return Gaussian noise with mean and deviation of each channel, within [0, 1]."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    mean, deviation = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True)
    return (mean + deviation * noise).clamp(0, 1)


def kept(images: Tensor, generator: Generator) -> Tensor:
    """Return the images as they are: no information is lost; only to measure what losing it is good for."""
    del generator
    return images


SPOILS: dict[str, Spoil] = {"shuffle": shuffled, "noise": noisy, "none": kept}


def restoration(made: Tensor, target: Tensor) -> Tensor:
    r"""Return $\mathrm{mean} (\hat x - x)^2$ of each image, `(B,)`; of abnormal ones the target is $\nu(x)$."""
    return ((made - target) ** 2).flatten(1).mean(1)


def entropy(second: Tensor, abnormal: Tensor) -> Tensor:
    r"""Return $\lVert \hat z \rVert_2$ of normal images, $(\lVert \hat z \rVert_2 + \epsilon)^{-1}$ of abnormal ones.

    Args:
        second: Codes ẑ, `(B, L)`.
        abnormal: Bool, `(B,)`.
    """
    length = lengths(second)
    return torch.where(abnormal, 1 / (length + _LEAST), length)


def agreement(first: Tensor, second: Tensor) -> Tensor:
    r"""Return $\mathrm{mean} (\hat z - z)^2$ of each image, `(B,)`."""
    return ((second - first) ** 2).mean(1)
