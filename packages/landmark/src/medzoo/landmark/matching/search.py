"""Cascade comparing (CC2D, arXiv 2103.04527): cosine similarity maps of several strides, their loss and their product.

Points are `(x, y)` in pixels of the network's input, with the origin at the centre of the first pixel. The cell of a
point in a map of stride s is `floor((p + 0.5) / s)`; for whole pixels this is the `floor(p / s)` of the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.landmark.found import Found
from medzoo.landmark.networks.decode import argmax, parabola

Fuse = Literal["product", "softmax_product"]
"""Multiply clamped cosines (public code), or their softmax over the map (figure of the paper: adds cosines)."""
Upsampling = Literal["nearest", "bilinear"]
"""How maps of coarse strides reach the finest one."""


LossVariant = Literal["classic", "v2"]
"""The matching of the paper's time or that of the later public code, CC2Dv2."""


def cells(points: Tensor, stride: int) -> Tensor:
    """Cell `(..., 2)` (x, y), int64, that holds each of the points `(..., 2)` in a map of `stride`."""
    return torch.floor((points + 0.5) / stride).long()


def take_templates(
    features: Sequence[Tensor], points: Tensor, strides: Sequence[int], bilinear: bool = False
) -> list[Tensor]:
    """Read feature vectors at points.

    Args:
        features: Maps `(B, L, H / s, W / s)`, one for each stride.
        points: `(B, P, 2)` in input pixels; points outside read the nearest cell, and one that is NaN gives zeros,
            which are similar to nothing.
        strides: Strides of the maps.
        bilinear: Interpolate between cells instead of reading the cell of the point.

    Returns:
        Templates `(B, P, L)`, one tensor for each stride.
    """
    out = []
    known = ~points.isnan().any(dim=-1, keepdim=True)
    points = torch.nan_to_num(points)
    for feature, stride in zip(features, strides, strict=True):
        h, w = feature.shape[-2:]
        if bilinear:
            extent = points.new_tensor([w * stride, h * stride])
            grid = (2 * points + 1) / extent - 1
            sampled = F.grid_sample(
                feature, grid[:, None].to(feature.dtype), padding_mode="border", align_corners=False
            )
            found = sampled[:, :, 0].transpose(1, 2)
        else:
            cell = cells(points, stride)
            flat = cell[..., 1].clamp(0, h - 1) * w + cell[..., 0].clamp(0, w - 1)  # (B, P)
            index = flat[:, None].expand(-1, feature.shape[1], -1)
            found = feature.flatten(2).gather(2, index).transpose(1, 2)
        out.append(found * known)
    return out


def cosine_maps(feature: Tensor, template: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Cosine similarity $c(u) = \langle F(u), t\rangle / (\lVert F(u)\rVert\lVert t\rVert + \epsilon)$ of all cells.

    Args:
        feature: `(B, L, h, w)`.
        template: `(B, P, L)`.
        eps: Added to the product of the norms (public code: 1e-3).

    Returns:
        `(B, P, h, w)` in [−1, 1].
    """
    # Half precision, as autocast would choose, has too few steps to find the best of neighbouring cells.
    kind = torch.promote_types(feature.dtype, torch.float32)
    feature, template = feature.to(kind), template.to(kind)
    with torch.autocast(feature.device.type, enabled=False):
        inner = torch.bmm(template, feature.flatten(2)).unflatten(2, feature.shape[-2:])
    norms = template.norm(dim=2)[..., None, None] * feature.norm(dim=1)[:, None]
    similarity: Tensor = inner / (norms + eps)
    return similarity


@dataclass(frozen=True)
class Contrast:
    """Form of the contrastive loss.

    Attributes:
        half_width: Half width n, in cells, of the window that the softmax runs over; the coarsest map is used whole.
        temperature: Factor τ on the logits (classic: 1; CC2D v2: 10).
        margin: Added cosine per cell of distance from the true cell (classic: 0; v2: 0.07), at most `margin_limit`.
        margin_limit: Largest margin (v2: 0.8).
        clamp: Clamp cosines to [0, 1] as the classic loss does; where a cosine is negative its gradient is then zero.
    """

    half_width: int = 6
    temperature: float = 1.0
    margin: float = 0.0
    margin_limit: float = 0.8
    clamp: bool = True


def contrast_of(form: LossVariant, window: int) -> Contrast:
    """Return the contrastive loss of a form of CC2D's matching, with the half width of its window in cells."""
    if form == "v2":
        return Contrast(window, temperature=10.0, margin=0.07, margin_limit=0.8, clamp=False)
    return Contrast(window)


def window_cross_entropy(
    similarity: Tensor, cell: Tensor, contrast: Contrast, whole: bool, valid: Tensor | None = None
) -> Tensor:
    r"""Cross-entropy of the true cell among those of a window around it.

    $$L = -\ell(u^*) + \log\sum_{u\in\Omega} e^{\ell(u)},\qquad
      \ell(u) = \tau\,\bigl(c(u) + \min(m\lVert u-u^*\rVert, m_{max})\bigr)$$

    Ω is $[u^*-n, u^*+n)$ on both axes (half open, as in the public code) cut at the border, or the whole map.

    Args:
        similarity: Cosine maps `(B, P, h, w)`.
        cell: True cells `(B, P, 2)` (x, y).
        contrast: Form of the loss.
        whole: Let the softmax run over the whole map.
        valid: `(B, P)` bool, which points count; None counts all.

    Returns:
        Mean loss over the points that count; 0 where none does.
    """
    b, p, h, w = similarity.shape
    x, y = cell[..., 0].clamp(0, w - 1), cell[..., 1].clamp(0, h - 1)
    if whole:
        xs = torch.arange(w, device=cell.device).expand(b, p, w)
        ys = torch.arange(h, device=cell.device).expand(b, p, h)
    else:
        offsets = torch.arange(-contrast.half_width, contrast.half_width, device=cell.device)
        xs, ys = x[..., None] + offsets, y[..., None] + offsets
    inside = ((ys >= 0) & (ys < h))[..., :, None] & ((xs >= 0) & (xs < w))[..., None, :]  # (B, P, ny, nx)
    flat = (ys.clamp(0, h - 1)[..., :, None] * w + xs.clamp(0, w - 1)[..., None, :]).flatten(2)
    values = similarity.flatten(2).gather(2, flat)  # (B, P, ny·nx)
    positive = similarity.flatten(2).gather(2, (y * w + x)[..., None])[..., 0]
    if contrast.clamp:
        values, positive = values.clamp(0, 1), positive.clamp(0, 1)
    if contrast.margin:
        away = torch.sqrt(((xs - x[..., None])[..., None, :] ** 2 + (ys - y[..., None])[..., :, None] ** 2).float())
        values = values + (contrast.margin * away).clamp(max=contrast.margin_limit).flatten(2).to(values.dtype)
    logits = (contrast.temperature * values.float()).masked_fill(~inside.flatten(2), -torch.inf)
    loss = logits.logsumexp(dim=2) - contrast.temperature * positive.float()
    if valid is None:
        return loss.mean()
    return torch.where(valid, loss, 0.0).sum() / valid.sum().clamp(min=1)


def contrastive_loss(
    features: Sequence[Tensor],
    templates: Sequence[Tensor],
    points: Tensor,
    strides: Sequence[int],
    contrast: Contrast,
    valid: Tensor | None = None,
) -> list[Tensor]:
    """Loss of each stride: templates from the patch must find their points in the maps of the whole image.

    Args:
        features: Maps `(B, L, H / s, W / s)` of the whole image, coarsest first.
        templates: `(B, P, L)` for each stride.
        points: `(B, P, 2)`, where the templates lie in the whole image, in input pixels.
        strides: Strides of the maps.
        contrast: Form of the loss.
        valid: `(B, P)` bool, which points count.
    """
    return [
        window_cross_entropy(cosine_maps(f, t), cells(points, s), contrast, whole=i == 0, valid=valid)
        for i, (f, t, s) in enumerate(zip(features, templates, strides, strict=True))
    ]


def fuse_maps(
    features: Sequence[Tensor],
    templates: Sequence[Tensor],
    fuse: Fuse = "product",
    upsampling: Upsampling = "nearest",
    eps: float = 1e-3,
) -> Tensor:
    """Multiply the similarity maps of all strides on the grid of the finest one.

    Args:
        features: Maps `(B, L, h_i, w_i)` of the query, coarsest first.
        templates: `(B, P, L)` or `(1, P, L)` for each map.
        fuse: `"product"` of cosines clamped to [0, 1], or `"softmax_product"`, whose maximum is that of the sum.
        upsampling: From coarse to fine.
        eps: As in `cosine_maps`.

    Returns:
        Scores `(B, P, h, w)` on the finest grid; in [0, 1] for `"product"`, log probabilities otherwise.
    """
    size = features[-1].shape[-2:]
    total: Tensor | None = None
    for feature, template in zip(features, templates, strict=True):
        score = cosine_maps(feature, template.expand(feature.shape[0], -1, -1), eps)
        score = score.clamp(0, 1) if fuse == "product" else score.flatten(2).log_softmax(2).view_as(score)
        if score.shape[-2:] != size:
            score = F.interpolate(score, size=size, mode=upsampling)
        total = score if total is None else (total * score if fuse == "product" else total + score)
    assert total is not None
    return total


def grid_to_input(points: Tensor, stride: int, corrected: bool = True) -> Tensor:
    """Input pixels of points given in cells of a map of `stride`.

    Args:
        points: `(..., 2)` in cells; whole numbers are centres of cells.
        stride: Stride of the map.
        corrected: Give the centre of the cell, `stride · u + (stride − 1) / 2`. The public code takes the first pixel
            of the enlarged plateau, `stride · u`, half a pixel too small at stride 2.
    """
    return points * stride + ((stride - 1) / 2 if corrected else 0.0)


def find(
    features: Sequence[Tensor],
    templates: Sequence[Tensor],
    strides: Sequence[int],
    fuse: Fuse = "product",
    upsampling: Upsampling = "nearest",
    corrected: bool = True,
) -> Found:
    """Find landmarks: of all cells and all shots the one most similar to the landmark's template (SCP, §2.5).

    Args:
        features: Maps `(B, L, H / s, W / s)` of the images, coarsest first.
        templates: `(S, K, L)` of S annotated images, for each stride.
        strides: Strides of the maps.
        fuse: How strides are combined.
        upsampling: `"nearest"` (public code) takes the best cell of the finest map; `"bilinear"` refines by a parabola.
        corrected: Give centres of cells, not their first pixels as the public code does.

    Returns:
        Points in input pixels, the similarity there, and the maps of the shot that each was found by.
    """
    decode = argmax if upsampling == "nearest" else parabola
    best: Found | None = None
    for shot in range(len(templates[0])):
        maps = fuse_maps(features, [t[shot : shot + 1] for t in templates], fuse, upsampling)
        found = Found(*decode(maps), maps)
        if best is not None:
            surer = found.scores > best.scores  # (B, K)
            found = Found(*(torch.where(surer.view(*surer.shape, *[1] * (new.ndim - 2)), new, old)
                            for new, old in zip(found, best, strict=True)))  # fmt: skip
        best = found
    assert best is not None, "templates of one annotated image at least"
    return Found(grid_to_input(best.points, strides[-1], corrected), best.scores, best.maps)
