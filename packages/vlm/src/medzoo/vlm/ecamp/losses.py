"""ECAMP's three losses: of hidden patches, of a sharper image, and of all words."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def hidden_patches(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over all pixels of the squared error where patches are hidden, `(B,)`.

    Args:
        found: `(B, P, p)`, pixels of patches.
        wanted: `(B, P, p)`.
        mask: `(B, P)` bool, true where a patch is hidden.
    """
    return ((found - wanted) * mask[..., None]).square().mean((1, 2))


def sharper(found: Tensor, wanted: Tensor, corner: Tensor, window: tuple[int, int]) -> Tensor:
    """Return the mean over all pixels of the squared error within a window, `(B,)`.

    Args:
        found: `(B, C, H, W)`, the super-resolution.
        wanted: `(B, C, H, W)`.
        corner: `(B, 2)` int64, first row and column of each image's window.
        window: Its rows and columns.
    """
    height, width = found.shape[2:]
    rows = torch.arange(height, device=found.device) - corner[:, :1]
    columns = torch.arange(width, device=found.device) - corner[:, 1:]
    inside = ((rows >= 0) & (rows < window[0]))[:, :, None] & ((columns >= 0) & (columns < window[1]))[:, None]
    return ((found - wanted) * inside[:, None]).square().mean((1, 2, 3))


def all_words(logits: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted cross-entropy of all pieces, the hidden and the others, padding too, `(B,)`.

    Args:
        logits: `(B, T, V)`.
        ids: `(B, T)` int64, the pieces before some were hidden.
        weights: `(B, T)`.
    """
    each = functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    return (weights * each).mean(1)
