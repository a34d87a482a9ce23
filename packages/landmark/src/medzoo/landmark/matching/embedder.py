"""What a matcher asks of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Embedder(Protocol):
    """A network that embeds each pixel at several strides."""

    @property
    def strides(self) -> Sequence[int]:
        """Strides of the maps, coarsest first."""

    def __call__(self, image: Tensor, domain: int) -> list[Tensor]:
        """Map images `(B, C, H, W)` of a domain to `(B, L, H / s, W / s)` for s in `strides`."""
