"""What a method asks of its data: one typed object in the place of attributes that are asked for by name."""

from __future__ import annotations

from dataclasses import dataclass

from medzoo.core.geometry import Affine, resize_affine


@dataclass(frozen=True)
class Wants:
    """What a method asks for; None leaves the choice to the data module or its options.

    Attributes:
        size: `(H, W)` or `(D, H, W)` of the images (training patches, of volumes), `(L, T)` of signals.
        batch_size: Samples a batch.
        trains: Whether the method has optimiser steps; otherwise it looks at its data once, or not at all.
        labels: Train on annotated samples only; otherwise on all training samples, without labels.
        supports: Reference samples beside each training sample.
        tested: Train on the normal samples of what is tested, not on other categories.
        rate: Samples a second of signals.
        leads: Names of the leads of signals, in order; empty where the method has seen none yet.
    """

    size: tuple[int, ...] | None = None
    batch_size: int | None = None
    trains: bool = True
    labels: bool = False
    supports: int | None = None
    tested: bool = False
    rate: float | None = None
    leads: tuple[str, ...] = ()

    def affine(self, original: tuple[int, int], size: tuple[int, int]) -> Affine:
        """Return the map from the pixels of a plane image to those that the network sees: it is stretched.

        Args:
            original: Width and height of the image.
            size: Height and width that the network sees.
        """
        return resize_affine(original, size[::-1])
