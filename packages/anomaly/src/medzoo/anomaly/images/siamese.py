"""What methods share that learn to register normal images of other categories (RegAD, CAReg)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from torch import Tensor

from medzoo.anomaly.images.fewshot import FewShot, Reference
from medzoo.anomaly.images.registration import Siamese, registration_loss
from medzoo.core.data.wants import Wants
from medzoo.core.sample import Batch


class RegisteringMethod(FewShot[Reference]):
    """Base of methods that bring a query and the mean of its supports together before they score anything.

    A subclass makes `siamese` and sets `train_shots` and `epochs`.
    """

    trainable = True
    siamese: Siamese
    train_shots: int | None
    epochs: int

    @abstractmethod
    def aligned(self, images: Tensor) -> Tensor:
        """Return the features `(B, C, h, w)` of `(B, 3, H, W)` images that the siamese head compares."""

    @property
    def max_epochs(self) -> int:
        """As many as the method's option says."""
        return self.epochs

    def wants(self) -> Wants:
        """Return those of all few-shot methods, with supports beside each training image."""
        return replace(super().wants(), supports=self.train_shots)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Bring the encoded query and the mean of its supports, taken before the encoder, together."""
        support = batch["support"]  # (B, K, 3, H, W)
        query = self.aligned(batch["image"])
        others = self.aligned(support.flatten(0, 1))
        mean = others.reshape(*support.shape[:2], *others.shape[1:]).mean(1)  # (B, C, h, w)
        loss = registration_loss(*self.siamese(query, mean))
        self.log("train/loss", loss, batch_size=len(query))
        return loss
