"""LfF as a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.classifier.network import ClassifierNetwork
from medzoo.core.data.options import Unpack
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.lff.losses import relative_difficulty
from medzoo.fairness.losses import generalised_ce
from medzoo.fairness.method import ClassOptions, DebiasingMethod, check_shares
from medzoo.fairness.networks import feature_network


class LfF(DebiasingMethod):
    """LfF (NeurIPS 2020): a network learns what is easy, and a second one weighs the images that the first fails at.

    Args:
        q: Exponent of the generalised cross-entropy, in (0, 1].
        kwargs: Options of `GroupMethod`: classes, network, size, training.
    """

    def __init__(
        self,
        q: float = 0.7,
        **kwargs: Unpack[ClassOptions],
    ) -> None:
        check_shares(q=q)
        super().__init__(**kwargs)

    def build(self) -> None:
        """Make both networks."""
        h = self.hparams
        super().build()
        if self.network is not None:
            trunk, width = feature_network(h["backbone"], h["channels"], self.input_size)
            self.biased = nn.Sequential(trunk, nn.Linear(width, len(h["classes"])))

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights to start from, for both networks."""
        super().fill(weights)
        cast(ClassifierNetwork, self.biased[0]).fill(weights)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch with both networks; no gradient goes from one to the other."""
        outputs = self.outputs(batch)
        label = model_labels(batch["label"], outputs, *self.given)
        easy = self.biased(batch["image"])
        each = F.cross_entropy(outputs.logits.float(), label, reduction="none")
        weight = relative_difficulty(F.cross_entropy(easy.detach().float(), label, reduction="none"), each.detach())
        biased, own = generalised_ce(easy, label, self.hparams["q"]).mean(), (weight * each).mean()
        loss = biased + own
        self.log_dict({"train/loss": loss, "train/biased": biased, "train/difficulty": torch.mean(weight)})
        return loss
