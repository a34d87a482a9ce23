"""Choosing images that are worth annotating, before anybody has annotated one: what a selector is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule


@dataclass(frozen=True)
class Choice:
    """One image of a selection.

    Attributes:
        rank: From 1; the images of rank 1 to T are the selection of T images.
        domain: Name of the domain, which has ranks of its own.
        id: Name of the image.
        path: Its file; empty for a phantom.
        gain: What the image adds to the score of those before it.
        score: Score of the images up to this one.
    """

    rank: int
    domain: str
    id: str
    path: str
    gain: float
    score: float


class Selector(ABC):
    """A way of choosing images, with `__init__` arguments as a `Method` has; listed under `medzoo.selectors`.

    It may look at images, never at labels.
    """

    @abstractmethod
    def select(self, model: LightningModule | None, data: LightningDataModule, budget: int) -> list[Choice]:
        """Choose images among the training images of every domain.

        Args:
            model: A trained model in evaluation mode on the CPU; None where the user gave no checkpoint.
            data: The data module, not set up.
            budget: How many images of each domain.

        Raises:
            ConfigError: Model, data or budget do not fit the selector.
        """
