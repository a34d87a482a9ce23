"""Ada-ABC as a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.ada_abc.losses import agreement_loss, confidence, council_loss, subsets
from medzoo.fairness.ada_abc.network import Council
from medzoo.fairness.method import ClassOptions, DebiasingMethod, check_shares
from medzoo.fairness.training_scores import of_batch


class AdaABC(DebiasingMethod):
    """Ada-ABC (Medical Image Analysis 2025): a council of biased heads, and a network that disagrees where it errs.

    Args:
        members: Heads of the council.
        share: Part of the training images that each head sees.
        disagreement: λ, weight of the samples that the council does not know.
        q: Exponent of the generalised cross-entropy, in (0, 1].
        hidden: Width of the heads' hidden layers.
        council_seed: Seed of the heads' images.
        kwargs: Options of `GroupMethod`: classes, network, size, training.
    """

    def __init__(
        self,
        members: int = 8,
        share: float = 0.8,
        disagreement: float = 20.0,
        q: float = 0.7,
        hidden: int = 512,
        council_seed: int = 0,
        **kwargs: Unpack[ClassOptions],
    ) -> None:
        check_shares(share=share, q=q)
        if members < 1 or hidden < 1:
            raise ConfigError(f"--model.members, --model.hidden: expected at least 1, got {members} and {hidden}")
        super().__init__(**kwargs)
        self.places: dict[str, int] = {}
        self.mask = torch.zeros(0)

    def build(self) -> None:
        """Make the debiased network and the council."""
        h = self.hparams
        super().build()
        if self.network is not None:
            self.council = Council(
                h["backbone"], h["channels"], len(h["classes"]), self.input_size, h["members"], h["hidden"]
            )

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights to start from, for both networks."""
        super().fill(weights)
        self.council.trunk.fill(weights)

    def setup(self, stage: str) -> None:
        """Draw the images of each head, by (seed, order of the ids) alone."""
        super().setup(stage)
        if stage == "fit":
            ids = sorted(item.id for item in self.data.cases.parts["train"])
            self.places = {name: place for place, name in enumerate(ids)}
            self.mask = subsets(len(ids), self.hparams["members"], self.hparams["share"], self.hparams["council_seed"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch with both networks; no gradient goes from one to the other."""
        outputs = self.outputs(batch)
        label = model_labels(batch["label"], outputs, *self.given)
        biased = self.council(batch["image"])
        seen = self.mask.to(label.device)[:, of_batch(self.places, batch)]
        council = council_loss(biased, label, seen, self.hparams["q"])
        known = confidence(biased, label)
        agree, disagree = agreement_loss(outputs.logits, label, known, self.hparams["disagreement"])
        loss = council + agree + disagree
        self.log_dict(
            {
                "train/loss": loss,
                "train/council": council,
                "train/agree": agree,
                "train/disagree": disagree,
                "train/council_confidence": known.mean(),
            }
        )
        return loss
