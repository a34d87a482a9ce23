"""LTML as a Lightning module."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.losses import distribution_balanced
from medzoo.fairness.ltml.losses import Reconsider, as_positives, reconsidered
from medzoo.fairness.method import ClassOptions, GroupMethod

Regularisation = Literal["adaptive", "constant"]


class LTML(GroupMethod):
    """LTML (ISBI 2024): long-tailed labels of which some are wrong, by a loss that doubts negatives of large loss.

    Args:
        regularisation: Of negatives: `adaptive` (by their logit) or `constant` (distribution-balanced loss).
        slope: b of the adaptive one; its scale lies between 1 and 1 + b.
        scale: λ of the constant one.
        detach_scale: Let no gradient through the adaptive scale. The public code lets it through where it multiplies
            the logit; above b = 10 confident false positives are then pushed up, so that is refused.
        bias: κ, how far rare classes are moved.
        reconsider: What becomes of the negatives of largest loss: `none`, `abandon` (no loss) or `modify` (the loss of
            the other label).
        rate: Share of all labels by which these grow each epoch, from 0 in the first; the public code has 0.1.
        max_rate: Largest share.
        kwargs: Options of `GroupMethod`: classes, network, size, training.
    """

    monitor: ClassVar[str] = "val/ap"
    needs_groups = False
    counts: Tensor
    total: int

    def __init__(
        self,
        regularisation: Regularisation = "adaptive",
        slope: float = 10.0,
        scale: float = 2.0,
        detach_scale: bool = True,
        bias: float = 0.025,
        reconsider: Reconsider = "abandon",
        rate: float = 0.02,
        max_rate: float = 0.3,
        **kwargs: Unpack[ClassOptions],
    ) -> None:
        check_choice("model.regularisation", regularisation, ("adaptive", "constant"))
        check_choice("model.reconsider", reconsider, ("none", "abandon", "modify"))
        if slope < 0 or scale <= 0:
            raise ConfigError(f"--model.slope, --model.scale: expected 0 and more, more than 0; got {slope}, {scale}")
        if regularisation == "adaptive" and not detach_scale and slope > 10:
            raise ConfigError(f"--model.slope {slope}: expected at most 10 without --model.detach_scale true")
        for name, value in (("rate", rate), ("max_rate", max_rate)):
            if not 0 <= value < 1:
                raise ConfigError(f"--model.{name}: expected 0 to below 1, got {value}")
        super().__init__(**kwargs)

    def build(self) -> None:
        """Make the network, of several labels."""
        if self.hparams["multi_label"] is False:
            raise ConfigError("--data: has one class an image, the method is for several labels; choose other data")
        super().build()

    def setup(self, stage: str) -> None:
        """Count the positives of the training data."""
        super().setup(stage)
        if stage == "fit":
            self.counts, _ = self.label_counts()
            self.total = len(self.data.cases.parts["train"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch."""
        h, outputs = self.hparams, self.outputs(batch)
        label = model_labels(batch["label"], outputs, *self.given)
        counts = self.counts.to(label.device)
        adaptive = h["slope"] if h["regularisation"] == "adaptive" else None
        each = distribution_balanced(
            outputs.logits, label, counts, self.total, h["scale"], adaptive, h["detach_scale"], h["bias"]
        )
        rate = min(h["rate"] * self.current_epoch, h["max_rate"])
        flipped = as_positives(outputs.logits, label, counts, self.total, h["bias"])
        each, doubted = reconsidered(each, flipped, label, rate, h["reconsider"])
        loss = each.sum() / (~label.isnan()).sum().clamp(min=1)
        self.log_dict({"train/loss": loss, "train/doubted": doubted.float().mean()})
        return loss
