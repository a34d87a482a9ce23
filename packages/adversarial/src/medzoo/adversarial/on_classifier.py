"""The base of methods whose victim is a classifier of exclusive classes, with training images looked at as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from medzoo.adversarial.on_victim import OnVictim
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import ClassificationOutputs, model_labels


class OnClassifier(OnVictim):
    """A method about a classifier; `outputs` is what it answers, and may be more than the victim alone."""

    @property
    def data(self) -> Any:
        """The data module of the attached trainer."""
        return getattr(self.trainer, "datamodule", None)

    def check_victim(self, model: Method) -> None:
        """Refuse models of several labels.

        Raises:
            ConfigError: It gives them.
        """
        if model.hparams.get("multi_label"):
            name = type(self).__name__.lower()
            raise ConfigError(f"--model.victim: it gives several labels; {name} needs one of exclusive classes")

    def classify(self, images: Tensor) -> Tensor:
        """Return logits `(B, K)` with gradients to the images.

        Raises:
            ConfigError: The victim is no classifier of exclusive classes.
        """
        outputs = self.outputs({"image": images})
        if not isinstance(outputs, ClassificationOutputs) or outputs.multi_label:
            name = type(self).__name__.lower()
            raise ConfigError(f"--model.victim: {name} needs a model with exclusive classes")
        return outputs.logits

    def labels(self, batch: Batch, images: Tensor) -> Tensor:
        """Return `(B,)` int64 true classes, in the order of the victim's."""
        with torch.no_grad():
            outputs = self.outputs({"image": images})
        return model_labels(batch["label"].to(images.device), outputs, self.data.classes, self.data.multi_label)

    def plain(self, part: str) -> Iterator[tuple[Batch, Tensor]]:
        """Yield the batches of a part of the data, unvaried, and their images on the method's device.

        Args:
            part: `train`, `val` or `test`.

        Raises:
            ConfigError: The data module has no such view of its images.
        """
        if not hasattr(self.data, "plain_dataloader"):
            name = type(self).__name__.lower()
            raise ConfigError(f"--data: {name} looks at training images as they are; take a classification data module")
        for batch in self.data.plain_dataloader(part):
            yield batch, batch["image"].to(self.device)
