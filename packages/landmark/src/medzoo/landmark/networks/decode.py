"""Coordinates from heat maps, vectorised over images and landmarks.

Every decoder maps `(B, K, H, W)` to points `(B, K, 2)` (x, y) in pixels of the map, with the origin at the centre
of the first pixel, and the score `(B, K)` of the maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from medzoo.landmark.networks.targets import gaussian

Decoder = Callable[[Tensor], tuple[Tensor, Tensor]]
DecoderName = Literal["argmax", "quarter", "parabola", "soft_argmax", "local_mean", "median", "dark", "component_mean"]
"""The decoders that need a heat map only; see `DECODERS`."""


def argmax(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Position of the largest value; the first in reading order where several are equal."""
    score, index = heat.flatten(2).max(dim=2)
    width = heat.shape[-1]
    return torch.stack([index % width, index // width], dim=-1).to(torch.float32), score


def quarter(heat: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum, moved by a quarter pixel towards the larger of its two neighbours on each axis."""
    points, score = argmax(heat)
    left, right, up, down = _cross(heat, points)
    step = torch.stack([torch.sign(right - left), torch.sign(down - up)], dim=-1)
    return points + 0.25 * step * _interior(points, heat), score


def parabola(heat: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum, moved (by half a pixel at most) to the top of the parabola through its neighbours on each axis."""
    points, score = argmax(heat)
    left, right, up, down = _cross(heat, points)
    shifts = []
    for before, after in ((left, right), (up, down)):
        bend = 2 * score - before - after
        shifts.append(torch.where(bend > 0, (after - before) / (2 * bend.clamp(min=1e-12)), 0.0).clamp(-0.5, 0.5))
    return points + torch.stack(shifts, dim=-1) * _interior(points, heat), score


def soft_argmax(heat: Tensor, beta: float = 100.0, radius: int | None = None) -> tuple[Tensor, Tensor]:
    r"""Expected position $\sum_u u\,\mathrm{softmax}(\beta h)(u)$, over the map or a square around the maximum.

    Args:
        heat: `(B, K, H, W)`.
        beta: Sharpness.
        radius: Half side of the square in pixels; None takes the whole map.
    """
    points, score = argmax(heat)
    h, w = heat.shape[-2:]
    ys = torch.arange(h, device=heat.device, dtype=torch.float32)
    xs = torch.arange(w, device=heat.device, dtype=torch.float32)
    logits = beta * heat.float()
    if radius is not None:
        near_y = (ys - points[..., 1:2]).abs() <= radius
        near_x = (xs - points[..., 0:1]).abs() <= radius
        logits = logits.masked_fill(~(near_y[..., :, None] & near_x[..., None, :]), -torch.inf)
    weights = logits.flatten(2).softmax(dim=2).view_as(logits)
    return torch.stack([(weights.sum(-2) * xs).sum(-1), (weights.sum(-1) * ys).sum(-1)], dim=-1), score


def local_mean(heat: Tensor, radius: int = 8) -> tuple[Tensor, Tensor]:
    """Mean position in a square around the maximum, weighted by the heat: the expectation where heat is probability.

    Unlike the maximum it is not drawn to the nodes of a coarser grid from which a map was enlarged: bilinear
    interpolation has its maxima only there.

    Args:
        heat: `(B, K, H, W)`, values ≥ 0.
        radius: Half side of the square in pixels; about three standard deviations of the target.
    """
    points, score = argmax(heat)
    h, w = heat.shape[-2:]
    ys = torch.arange(h, device=heat.device, dtype=torch.float32)
    xs = torch.arange(w, device=heat.device, dtype=torch.float32)
    rows = ((ys - points[..., 1:2]).abs() <= radius).float()  # (B, K, H)
    columns = ((xs - points[..., 0:1]).abs() <= radius).float()
    weight = heat.float().clamp(min=0)
    over_x = (weight @ columns[..., None])[..., 0] * rows  # (B, K, H)
    over_y = (rows[..., None, :] @ weight)[..., 0, :] * columns
    mass = over_x.sum(dim=2).clamp(min=1e-12)
    found = torch.stack([(over_y * xs).sum(dim=2), (over_x * ys).sum(dim=2)], dim=-1) / mass[..., None]
    # A map without a positive value has no mean.
    return torch.where(score[..., None] > 0, found, points), score


def median(heat: Tensor, pixels: int = 2048, rounds: int = 30) -> tuple[Tensor, Tensor]:
    r"""Geometric median of the map, $\arg\min_p \sum_u h_u \lVert u - p\rVert$.

    Where heat is the probability of the landmark's place, no point has a smaller error to expect. Between two places it
    takes the likelier one or lies between them; unlike the mean it is not moved far by a few far pixels. Found by
    Weiszfeld's iteration from the mean.

    Args:
        heat: `(B, K, H, W)`, values ≥ 0.
        pixels: Only so many of the highest pixels count.
        rounds: Iterations.
    """
    highest, score = argmax(heat)
    weight, index = heat.float().clamp(min=0).flatten(2).topk(min(pixels, heat.shape[-2] * heat.shape[-1]), dim=2)
    x, y = (index % heat.shape[-1]).float(), (index // heat.shape[-1]).float()
    places = torch.stack([x, y], dim=-1)  # (B, K, P, 2)
    found, pull = highest, weight
    for _ in range(rounds):
        found = (pull[:, :, None] @ places)[:, :, 0] / pull.sum(dim=2, keepdim=True).clamp(min=1e-12)
        # A tenth of a pixel keeps the pull of a pixel that the point has reached finite.
        pull = weight * ((x - found[..., 0:1]) ** 2 + (y - found[..., 1:2]) ** 2 + 0.01).rsqrt()
    return torch.where(score[..., None] > 0, found, highest), score


def dark(heat: Tensor, sigma: float = 2.0) -> tuple[Tensor, Tensor]:
    """Taylor step on the logarithm of the blurred map (DARK, arXiv 1910.06278).

    Args:
        heat: `(B, K, H, W)`, values ≥ 0.
        sigma: Standard deviation of the blur in pixels, that of the target.
    """
    _, score = argmax(heat)
    b, k, h, w = heat.shape
    radius = int(3 * sigma + 0.5)
    centre = torch.full((1, 2), float(radius), device=heat.device)
    kernel = gaussian(centre, (2 * radius + 1, 2 * radius + 1), sigma)[:, None]
    blurred = F.conv2d(heat.float().reshape(b * k, 1, h, w), kernel / kernel.sum(), padding=radius).view(b, k, h, w)
    points, _ = argmax(blurred)
    log = blurred.clamp(min=1e-10).log()
    left, right, up, down = _cross(log, points)
    here = _at(log, points)
    gradient = torch.stack([right - left, down - up], dim=-1) / 2
    hxx, hyy = left + right - 2 * here, up + down - 2 * here
    corners = torch.tensor([[-1, -1], [1, 1], [-1, 1], [1, -1]], device=heat.device)
    low, high, falling, rising = (_at(log, points + corner) for corner in corners)
    hxy = (low + high - falling - rising) / 4
    hessian = torch.stack([hxx, hxy, hxy, hyy], dim=-1).unflatten(-1, (2, 2))
    definite = (hxx < 0) & (hxx * hyy - hxy**2 > 1e-10)
    safe = torch.where(definite[..., None, None], hessian, -torch.eye(2, device=heat.device))
    step = -torch.linalg.solve(safe, gradient).clamp(-1, 1)
    return points + step * definite[..., None] * _interior(points, heat), score


def component_mean(heat: Tensor, low: float = 0.25, high: float = 0.88) -> tuple[Tensor, Tensor]:
    """UOD's decoder: mean position of the high pixels in the largest connected component.

    Pixels below `low` of the map's maximum are dropped; of the 8-connected components left the largest is kept, and of
    equal ones the first; the result is the mean position of its pixels above `high` of its own maximum. Of maps with a
    negative maximum the pixels down to 1 + `low` times it are kept, and then negated, as in the public code: what
    counts is the lower rim of the top. A map whose maximum is 0 has no component and gives its first largest pixel.

    Args:
        heat: `(B, K, H, W)`.
        low: Threshold of membership, as a share of the maximum.
        high: Threshold of the mean, as a share of the kept component's maximum.
    """
    b, k, h, w = heat.shape
    highest, score = argmax(heat)
    maps = heat.detach().float().cpu().numpy().reshape(b * k, h, w)
    peak = maps.max(axis=(1, 2), keepdims=True)
    member = np.where(peak > 0, maps >= low * peak, maps >= (1 + low) * peak) & (peak != 0)
    maps = np.where(peak > 0, maps, -maps)
    # One labelling for all maps: neighbours count within a map only.
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = True
    labels, count = ndimage.label(member, structure=structure)
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count + 1)
    sizes[0] = 0
    owner = np.zeros(count + 1, dtype=np.int64)
    owner[flat] = np.repeat(np.arange(b * k), h * w)
    best = np.zeros(b * k, dtype=np.int64)
    order = np.lexsort((-np.arange(1, count + 1), sizes[1:])) + 1  # ascending size; of equal ones the first comes last
    best[owner[order]] = order
    kept = member & (labels == best[:, None, None])
    top = np.where(kept, maps, -np.inf).max(axis=(1, 2), keepdims=True)
    values = (kept & (maps > high * top)).astype(np.float32)
    mass = np.maximum(values.sum(axis=(1, 2)), 1)
    x = (values.sum(axis=1) * np.arange(w)).sum(axis=1) / mass
    y = (values.sum(axis=2) * np.arange(h)).sum(axis=1) / mass
    points = torch.from_numpy(np.stack([x, y], axis=-1).reshape(b, k, 2).astype(np.float32))
    found = torch.from_numpy(values.any(axis=(1, 2)).reshape(b, k, 1)).to(heat.device)
    return torch.where(found, points.to(heat.device), highest), score


def vote(heat: Tensor, offset_x: Tensor, offset_y: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """CC2D's decoder: the `⌊3.14·R²⌋` highest pixels vote for where their offsets point.

    Offsets are rounded to the nearest pixel; the public code cuts them off, which loses a pixel to the error of floats.

    Args:
        heat: `(B, K, H, W)`.
        offset_x: `(B, K, H, W)`, `(p_x − u_x) / R`.
        offset_y: `(B, K, H, W)`, `(p_y − u_y) / R`.
        radius: R in pixels.

    Returns:
        Points with most votes, and the share of voters that chose them.
    """
    b, k, h, w = heat.shape
    voters = min(int(3.14 * radius**2), h * w)
    index = heat.flatten(2).topk(voters, dim=2).indices
    x = index % w + (offset_x.flatten(2).gather(2, index) * radius).round().long()
    y = index // w + (offset_y.flatten(2).gather(2, index) * radius).round().long()
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    target = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
    votes = torch.zeros(b, k, h * w, device=heat.device).scatter_add_(2, target, inside.float())
    points, most = argmax(votes.view(b, k, h, w))
    return points, most / voters


def mass_near(heat: Tensor, points: Tensor, radius: float) -> Tensor:
    """Share `(B, K)` of the maps' mass, `(B, K, H, W)` ≥ 0, in squares of half side `radius` about points."""
    ys = torch.arange(heat.shape[-2], device=heat.device)
    xs = torch.arange(heat.shape[-1], device=heat.device)
    rows = ((ys - points[..., 1:2]).abs() <= radius).to(heat.dtype)
    columns = ((xs - points[..., 0:1]).abs() <= radius).to(heat.dtype)
    inside = ((heat @ columns[..., None])[..., 0] * rows).sum(dim=2)
    return inside / heat.sum(dim=(2, 3)).clamp(min=1e-12)


def _at(heat: Tensor, points: Tensor) -> Tensor:
    """Values `(B, K)` of the maps at whole points `(B, K, 2)`, clamped to the border."""
    h, w = heat.shape[-2:]
    index = points[..., 1].long().clamp(0, h - 1) * w + points[..., 0].long().clamp(0, w - 1)
    return heat.flatten(2).gather(2, index[..., None])[..., 0]


def _cross(heat: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values left, right, above and below of the points."""
    steps = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]], device=points.device)
    left, right, up, down = (_at(heat, points + step) for step in steps)
    return left, right, up, down


def _interior(points: Tensor, heat: Tensor) -> Tensor:
    """`(B, K, 2)`: 1 where the axis has both neighbours, 0 at the border."""
    extent = torch.tensor([heat.shape[-1], heat.shape[-2]], device=points.device)
    return ((points > 0) & (points < extent - 1)).to(points.dtype)


DECODERS: dict[DecoderName, Decoder] = {
    "argmax": argmax,
    "quarter": quarter,
    "parabola": parabola,
    "soft_argmax": soft_argmax,
    "local_mean": local_mean,
    "median": median,
    "dark": dark,
    "component_mean": component_mean,
}
"""Decoders by name that need a heat map only."""


def decode(heat: Tensor, decoder: DecoderName, sigma: float) -> tuple[Tensor, Tensor]:
    """Read heat maps with a decoder; `dark` blurs as widely as their target, as its paper does.

    Args:
        heat: `(B, K, H, W)`.
        decoder: One of `DECODERS`.
        sigma: Standard deviation of the maps' target, in their pixels.
    """
    return dark(heat, sigma) if decoder == "dark" else DECODERS[decoder](heat)
