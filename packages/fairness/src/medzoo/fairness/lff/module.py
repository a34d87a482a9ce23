"""LfF as a Lightning module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.lff.losses import relative_difficulty
from medzoo.fairness.losses import generalised_ce
from medzoo.fairness.method import DebiasingMethod, check_shares
from medzoo.fairness.networks import feature_network


class LfF(DebiasingMethod):
    """LfF (NeurIPS 2020): a network learns what is easy, and a second one weighs the images that the first fails at.

    Args:
        q: Exponent of the generalised cross-entropy, in (0, 1].
        classes: Names of the classes; empty: those of the data.
        multi_label: Whether several may hold at once; must be false. Empty: as in the data.
        channels: Channels of the images; empty: as in the data.
        backbone: Network of timm, of which there are two.
        weights: File with weights of the timm network for the second one; empty: random ones.
        size: Height and width of the images, one number for a square.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch.
    """

    def __init__(
        self,
        q: float = 0.7,
        classes: list[str] | None = None,
        multi_label: bool | None = None,
        channels: int | None = None,
        backbone: str = "resnet18",
        weights: str | None = None,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        lr: float = 1e-3,
        epochs: int = 30,
        steps: int | None = None,
        batch: int = 32,
    ) -> None:
        check_shares(q=q)
        super().__init__(
            classes=classes, multi_label=multi_label, channels=channels, backbone=backbone, weights=weights, size=size,
            lr=lr, epochs=epochs, steps=steps, batch=batch,
        )  # fmt: skip

    def build(self) -> None:
        """Make both networks."""
        h = self.hparams
        super().build()
        if self.network is not None:
            trunk, width = feature_network(h["backbone"], h["channels"], self.input_size)
            self.biased = nn.Sequential(trunk, nn.Linear(width, len(h["classes"])))

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
