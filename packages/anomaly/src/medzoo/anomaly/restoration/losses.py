"""Losses of restoration, and the fixed transforms that its terms are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MILLIVOLTS = 3.0  # what the norm "millivolts" maps to 1
PATCHES = 100
"""Equal parts of a record, some of which are hidden."""


def weighted_error(restored: Tensor, target: Tensor, spread: Tensor) -> Tensor:
    """Return squared errors divided by their predicted variance, `e^(−s) (x̂ − x)²`, of the shape of the target.

    Args:
        restored: `(B, L, T)`.
        target: `(B, L, T)`.
        spread: `(B, 1, T)` log variance.
    """
    return torch.exp(-spread) * (restored - target).square()


def restoration_loss(restored: Tensor, target: Tensor, spread: Tensor) -> Tensor:
    """Return the mean over all samples, masked or not, of `e^(−s) (x̂ − x)² + s` (MCF, L_g and L_l).

    With s in [−1, 1] and small errors the least value is near −1.
    """
    return weighted_error(restored, target, spread).mean() + spread.mean()


def min_max(signal: Tensor, dims: tuple[int, ...] = (-1,)) -> Tensor:
    """Bring the values over some dimensions to [−1, 1]; constant ones become 0."""
    low, high = signal.amin(dims, keepdim=True), signal.amax(dims, keepdim=True)
    span = high - low
    scaled = 2 * (signal - low) / torch.where(span > 0, span, torch.ones_like(span)) - 1
    return torch.where(span > 0, scaled, torch.zeros_like(scaled))


def normalised(signal: Tensor, norm: str) -> Tensor:
    """Bring a signal `(B, L, T)` in mV to about [−1, 1].

    Args:
        signal: In mV.
        norm: "lead" maps least and largest value of each lead to −1 and 1 and forgets all voltages; "robust" does so
            with the quantiles 0.5 % and 99.5 % and cuts what lies outside; "millivolts" divides by 3 mV and cuts.
    """
    if norm == "lead":
        return min_max(signal)
    if norm == "millivolts":
        return torch.clamp(signal / _MILLIVOLTS, -1, 1)
    low, high = torch.quantile(signal.detach(), torch.tensor([0.005, 0.995]).to(signal), dim=-1, keepdim=True)
    return torch.clamp(2 * (signal - low) / (high - low).clamp_min(1e-6) - 1, -1, 1)


def trend_of(signal: Tensor, width: int) -> Tensor:
    """Return the trend of a signal `(B, L, T)`: first difference of a moving average, over all leads in [−1, 1].

    Args:
        signal: Of any unit.
        width: Samples of the moving average; half of it is padded with zeros at either end.
    """
    steps = F.avg_pool1d(signal, width, 1).diff(dim=-1)
    return min_max(F.pad(steps, (width // 2, width - width // 2)), (-2, -1))


def random_patches(signal: Tensor, ratio: float, patches: int = PATCHES) -> Tensor:
    """Return a mask `(B, 1, T)`, 0 in a random share of the patches of each sample, else 1.

    Patches are equal where T is a multiple of their number; otherwise some have a sample more, and none is left over.

    Args:
        signal: `(B, L, T)`.
        ratio: Share that is hidden.
        patches: Patches of a record, at most T.
    """
    count, length = len(signal), signal.shape[-1]
    hidden = torch.rand(count, patches, device=signal.device).argsort(1) < round(ratio * patches)
    patch_of = torch.arange(length, device=signal.device) * patches // length
    return (~hidden).to(signal)[:, None, patch_of]


def random_run(beat: Tensor, ratio: float) -> Tensor:
    """Return a mask `(B, 1, d)`, 0 in one run of random place of each beat, else 1."""
    length = beat.shape[-1]
    run = round(ratio * length)
    start = torch.randint(1, max(2, length - run - 1), (len(beat), 1), device=beat.device)
    at = torch.arange(length, device=beat.device)
    return ((at < start) | (at >= start + run)).to(beat)[:, None]


def fixed_masks(length: int, beat: int) -> tuple[Tensor, Tensor]:
    """Return the three masks of a record `(3, 1, length)` and of a beat `(3, 1, beat)` that scores are taken with.

    In a record of 4,800 samples, 30 patches of 48 in steps of 160, shifted by 48 from mask to mask, which together hide
    90 %; in a beat of 480 samples, 100 samples from 20, 70 and 120 (public code).
    """
    patch, step = length // PATCHES, length // 30
    at, within = torch.arange(length), torch.arange(beat)
    whole, part = torch.ones(3, 1, length), torch.ones(3, 1, beat)
    for j in range(3):
        place = at % step
        whole[j, 0, (place >= patch * j) & (place < patch * (j + 1)) & (at < 30 * step)] = 0
        start = round((20 + 50 * j) / 480 * beat)
        part[j, 0, (within >= start) & (within < start + round(100 / 480 * beat))] = 0
    return whole, part


def smoothed(heat: Tensor, sigma: float) -> Tensor:
    """Return a map `(L, T)` smoothed along time by a Gaussian of `sigma` samples, its ends held."""
    radius = max(1, round(4 * sigma))
    at = torch.arange(-radius, radius + 1, device=heat.device, dtype=heat.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    padded = F.pad(heat[:, None], (radius, radius), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum())[None, None])[:, 0]
