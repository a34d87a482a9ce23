"""The weight of LfF (Nam et al., NeurIPS 2020)."""

from __future__ import annotations

from torch import Tensor


def relative_difficulty(biased: Tensor, own: Tensor) -> Tensor:
    """Return `CE_b / (CE_b + CE_d)` of each sample, `(B,)`: near 1 where the biased network fails.

    Args:
        biased: `(B,)` cross-entropies of the network that learns what is easy.
        own: `(B,)` those of the other.
    """
    return biased / (biased + own + 1e-8)
