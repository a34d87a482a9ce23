"""A test that certifies each image before the model sees it."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medzoo.adversarial.attack.looking import own_generators
from medzoo.adversarial.certify.certificate import Smoothing, certify
from medzoo.adversarial.robust.module import RobustClassifier
from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import identity
from medzoo.core.tasks.classification import ClassificationOutputs, model_labels


class Certifying(Callback):
    """Certifies the images of each test batch.

    Args:
        smoothing: Settings.
        seed: The noise depends on it and on the source and id of the image, not on its batch.
    """

    def __init__(self, smoothing: Smoothing, seed: int) -> None:
        self.smoothing, self.seed = smoothing, seed
        self.rows: list[dict[str, Any]] = []

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Certify.

        Raises:
            ConfigError: The model is no classifier of exclusive classes, or the images have no labels.
        """
        if not isinstance(pl_module, Method):
            raise ConfigError(f"{type(pl_module).__name__} has no outputs(batch); it is no medzoo Method")
        # A model that votes over noise of its own is certified by the network below the vote.
        ask = pl_module.plain if isinstance(pl_module, RobustClassifier) else pl_module.outputs

        def answer(images: Tensor) -> Tensor:
            outputs = ask({"image": images})
            if not isinstance(outputs, ClassificationOutputs) or outputs.multi_label:
                raise ConfigError(
                    f"{type(pl_module).__name__}: certificates are of classifiers of exclusive classes; take one"
                )
            return outputs.logits

        images, data = batch["image"], getattr(trainer, "datamodule", None)
        with torch.no_grad():
            answer(images[:1])
            outputs = ask({"image": images[:1]})
        if "label" not in batch:
            raise ConfigError("the test images have no 'label', and certified accuracy needs one; give labelled ones")
        assert data is not None
        labels = model_labels(batch["label"], outputs, data.classes, data.multi_label)
        for i, (image, generator) in enumerate(zip(images, own_generators(self.seed, batch), strict=True)):
            found = certify(answer, image, self.smoothing, generator)
            names = outputs.classes
            self.rows.append(
                {
                    **identity(batch, i, batch["source"][i]),
                    "label": names[int(labels[i])],
                    "called": "abstains" if found.called < 0 else names[found.called],
                    "correct": int(found.called == int(labels[i])),
                    "radius": found.radius,
                    "bound": found.bound,
                }
            )

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the rows of all processes together."""
        self.rows = gather_all(self.rows)
