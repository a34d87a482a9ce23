"""The usual baselines as a Lightning module."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.baseline.losses import label_loss, worst_groups
from medzoo.fairness.baseline.network import Adversary, TailAverage, head_of, with_features
from medzoo.fairness.losses import cross_entropies, equal_groups
from medzoo.fairness.method import SELECTS, ClassOptions, GroupMethod, Select

Loss = Literal[
    "mean", "group-mean", "group-dro", "group-heads", "gradient-reversal", "logit-adjusted", "class-balanced", "focal",
    "asl", "db",
]  # fmt: skip
LOSSES: tuple[Loss, ...] = get_args(Loss)
_OF_GROUPS, _OF_LABELS, _OF_COUNTS = (
    ("group-mean", "group-dro", "group-heads", "gradient-reversal"),
    ("asl", "db"),
    ("logit-adjusted", "class-balanced", "db"),
)


class FairBaseline(GroupMethod):
    """The usual baselines: plain training (ERM), and losses for groups or for rare classes.

    Args:
        loss: `mean` (ERM); `group-mean` (all groups count alike), `group-dro` (the worst group counts most),
            `group-heads` (a head for each group, whose logits are added at the test), `gradient-reversal` (features
            from which an adversary shall not tell the group); for rare classes `logit-adjusted`, `class-balanced`,
            `focal`; of labels `asl` and `db` (distribution-balanced).
        attribute: Sensitive attribute of the losses over groups; empty where the data have one only.
        groups: Its values; empty: those of the training images. Another is unknown to the model.
        dro_rate: Step size of the group weights of `group-dro`.
        adversary: Weight of the reversed gradient of `gradient-reversal`.
        adjustment: Factor of the log priors of `logit-adjusted`.
        trains: `all`, or `head`: the last layer of a trained network (`--init_from`) again, all else as it is.
        average: Part of the steps, at the end, whose mean weights are the result; 0 for the last weights.
        select: What marks the best epoch: `overall` AUROC, that of the `worst` group, or the distance of both to 1.
        kwargs: Options of `GroupMethod`: classes, network, size, training.
    """

    group_weights: Tensor
    counts: Tensor
    known: Tensor

    def __init__(
        self,
        loss: Loss = "mean",
        attribute: str | None = None,
        groups: list[str] | None = None,
        dro_rate: float = 0.01,
        adversary: float = 1.0,
        adjustment: float = 1.0,
        trains: Literal["all", "head"] = "all",
        average: float = 0.0,
        select: Select = "overall",
        **kwargs: Unpack[ClassOptions],
    ) -> None:
        check_choice("model.loss", loss, LOSSES)
        check_choice("model.select", select, SELECTS)
        check_choice("model.trains", trains, ("all", "head"))
        self.adversary: Adversary | None = None
        self.averaged: TailAverage | None = None
        super().__init__(**kwargs)
        if dro_rate <= 0:
            raise ConfigError(f"--model.dro_rate: expected more than 0, got {dro_rate}")
        if adversary < 0:
            raise ConfigError(f"--model.adversary: expected at least 0, got {adversary}")
        if not 0 <= average <= 1:
            raise ConfigError(f"--model.average: expected 0 to 1, got {average}")

    @property
    def needs_groups(self) -> bool:  # type: ignore[override]
        """Whether the loss reads the groups."""
        return self.hparams["loss"] in _OF_GROUPS

    def build(self) -> None:
        """Make the network and, by the loss, heads or weights of the groups."""
        h = self.hparams
        if h["loss"] in _OF_LABELS and h["multi_label"] is False:
            raise ConfigError(f"--model.loss {h['loss']}: is for several labels an image, the data have one class each")
        if self.needs_groups and not h["groups"]:
            return
        super().build()
        if self.network is None:
            return
        if h["loss"] == "group-dro":
            self.register_buffer("group_weights", torch.full((len(h["groups"]),), 1 / len(h["groups"])))
        if h["loss"] == "group-heads":
            getattr(self.network.model, "reset_classifier")(len(h["groups"]) * len(h["classes"]))  # noqa: B009 - timm's
        if h["loss"] == "gradient-reversal":
            self.adversary = Adversary(head_of(self.network).in_features, len(h["groups"]))
        if h["trains"] == "head":
            self.network.requires_grad_(False)
            head_of(self.network).requires_grad_(True)
        if h["average"]:
            self.averaged = TailAverage(self.network)

    def train(self, mode: bool = True) -> FairBaseline:
        """Set the mode; of a network whose last layer alone is trained, statistics stay as they are."""
        super().train(mode)
        if self.network is not None and self.hparams["trains"] == "head":
            self.network.eval()
        return self

    def _logits(self, image: Tensor) -> Tensor:
        """Return those of the network, in training and where nothing is averaged, else of the average."""
        averaged = self.averaged if not self.training and self.averaged is not None and self.averaged.begun else None
        logits: Tensor = averaged(image) if averaged is not None else super().forward(image)
        return logits

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        """Add the weights to the average, towards the end."""
        if self.averaged is not None:
            steps = int(self.trainer.estimated_stepping_batches)
            if self.global_step > int((1 - self.hparams["average"]) * steps):
                assert self.network is not None
                self.averaged.update_parameters(self.network)

    def heads(self, image: Tensor) -> Tensor:
        """Return the logits of each group's head, `(B, G, classes)`, of images `(B, channels, H, W)` in [0, 1]."""
        logits: Tensor = self._logits(image).unflatten(1, (len(self.hparams["groups"]), -1))
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `(B, classes)` of images `(B, channels, H, W)` in [0, 1]; of several heads, their sum."""
        return self.heads(image).sum(1) if self.hparams["loss"] == "group-heads" else self._logits(image)

    def setup(self, stage: str) -> None:
        """Count the classes of the training data, for the losses that weigh them."""
        super().setup(stage)
        if stage == "fit" and self.hparams["loss"] in _OF_COUNTS:
            self.counts, self.known = self.label_counts()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch."""
        if self.hparams["loss"] == "group-heads":
            heads, own = self.heads(batch["image"]), self.codes(batch).clamp(min=0)
            outputs = self._answer(heads[torch.arange(len(own), device=own.device), own])
        elif self.adversary is not None:
            assert self.network is not None
            logits, features = with_features(self.network, batch["image"])
            outputs = self._answer(logits)
        else:
            outputs = self.outputs(batch)
        label = model_labels(batch["label"], outputs, *self.given)
        loss = self._loss(outputs.logits, label, batch)
        if self.adversary is not None:
            told = self.adversary(features, self.hparams["adversary"])
            group = self.codes(batch)
            wrong = equal_groups(cross_entropies(told, group.clamp(min=0)), group, told.shape[1])
            self.log("train/adversary", wrong)
            loss = loss + wrong
        self.log("train/loss", loss)
        return loss

    def _loss(self, logits: Tensor, label: Tensor, batch: Batch) -> Tensor:
        name = self.hparams["loss"]
        if name == "group-mean":
            return equal_groups(cross_entropies(logits, label), self.codes(batch), len(self.hparams["groups"]))
        if name == "group-heads":  # what is of no known group has no head
            known = self.codes(batch) >= 0
            return (cross_entropies(logits, label) * known).sum() / known.sum().clamp(min=1)
        if name == "group-dro":
            each, rate = cross_entropies(logits, label), self.hparams["dro_rate"]
            loss, self.group_weights = worst_groups(each, self.codes(batch), self.group_weights, rate)
            return loss
        h = self.hparams
        counts = (self.counts, self.known) if name in _OF_COUNTS else None
        return label_loss(name, logits, label, counts, h["adjustment"]).mean()
