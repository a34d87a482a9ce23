"""FairAdaBN as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.core.data.options import Unpack
from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import ClassificationOutputs, model_labels
from medzoo.fairness.fair_adabn.losses import disparity, group_sum
from medzoo.fairness.fair_adabn.network import branched, convert, group_context
from medzoo.fairness.losses import cross_entropies
from medzoo.fairness.method import SELECTS, ClassOptions, GroupMethod, Select

Unknown = Literal["refuse", "pooled", "average"]


class FairAdaBN(GroupMethod):
    """FairAdaBN (MICCAI 2023): batch normalisation of its own for each group, and a loss on unlike predictions.

    Args:
        attribute: Sensitive attribute; empty where the data have one only.
        groups: Its values; empty: those of the training images. Another is unknown to the model.
        alpha: Weight of the statistical disparity.
        disparity: `soft` (mean probabilities) or `hard` (the paper's frequencies of predictions, without gradient).
        shared: Patterns of the names of normalisations that all groups share, such as `model.layer1.*`; the public code
            shares the first, `model.bn1` of a residual network.
        unknown: What is done with an image of unknown group: `refuse`, `pooled` (the mixture of the groups' statistics)
            or `average` (the mean of the probabilities of all groups). Training leaves it out.
        select: What marks the best epoch: `overall` AUROC, that of the `worst` group, or the distance of both to 1.
        kwargs: Options of `GroupMethod`: classes, network, size, training.
    """

    trains_in_parts: ClassVar[bool] = True

    def __init__(
        self,
        attribute: str | None = None,
        groups: list[str] | None = None,
        alpha: float = 1.0,
        disparity: Literal["soft", "hard"] = "soft",
        shared: list[str] | None = None,
        unknown: Unknown = "refuse",
        select: Select = "overall",
        **kwargs: Unpack[ClassOptions],
    ) -> None:
        check_choice("model.disparity", disparity, ("soft", "hard"))
        check_choice("model.unknown", unknown, ("refuse", "pooled", "average"))
        check_choice("model.select", select, SELECTS)
        if alpha < 0:
            raise ConfigError(f"--model.alpha: expected at least 0, got {alpha}")
        super().__init__(**kwargs)
        self.swapped: list[tuple[str, float]] = []

    def build(self) -> None:
        """Make the network and give its normalisations a branch for each group, once classes and groups are known."""
        groups = self.hparams["groups"]
        if not groups:
            return
        if len(groups) < 2 or len(set(groups)) < len(groups):
            raise ConfigError(f"--model.groups: expected at least two distinct names, got {groups}")
        super().build()
        if self.network is not None:
            self._convert()

    def setup(self, stage: str) -> None:
        """Refuse images of unknown group before the training and not after it.

        Raises:
            ConfigError: Some of those that are judged in the end are of unknown group, and the model refuses that.
        """
        super().setup(stage)
        if stage == "fit" and self.data is not None and self.hparams["unknown"] == "refuse":
            name, lookup = self.hparams["attribute"], self.lookup
            codes = [item.groups.get(name, -1) for part in ("val", "test") for item in self.data.cases.parts[part]]
            missing = sum(code < 0 or (lookup is not None and lookup[code] < 0) for code in codes)
            if missing:
                raise self._refused(f"{missing} of {len(codes)} images for validation and test")

    def _refused(self, what: str) -> ConfigError:
        groups = ", ".join(self.hparams["groups"])
        return ConfigError(
            f"--model.unknown: {what} have no {self.hparams['attribute']} among {groups}; give it, or choose pooled or "
            "average"
        )

    def _convert(self) -> None:
        assert self.network is not None
        try:
            convert(self.network, len(self.hparams["groups"]), self.hparams["shared"] or [])
        except ValueError as error:
            raise ConfigError(f"--model.backbone {self.hparams['backbone']}: {error}") from error

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights to start from; every group's normalisation gets those of the network as it was."""
        assert self.network is not None
        super().fill(branched(self.network.model, weights))

    def forward(self, image: Tensor, group: Tensor | None = None) -> Tensor:
        """Return the logits `(B, classes)` of images `(B, channels, H, W)` in [0, 1].

        Args:
            image: The images.
            group: `(B,)` int64, −1 where unknown; None where nothing is known.

        Raises:
            ConfigError: A group is unknown, and the model refuses that.
        """
        if group is None:
            group = torch.full((len(image),), -1, device=image.device)
        missing = group < 0
        if bool(missing.any()) and self.hparams["unknown"] == "refuse":
            raise self._refused(f"{int(missing.sum())} images of a batch")
        if not bool(missing.any()) or self.hparams["unknown"] == "pooled":
            return self._through(image, group)
        count = len(self.hparams["groups"])
        parts = [self._through(image, torch.where(missing, g, group)) for g in range(count)]
        log_p = torch.stack([F.logsigmoid(p) if self.hparams["multi_label"] else p.log_softmax(1) for p in parts])
        mean = log_p.logsumexp(0) - math.log(count)
        if self.hparams["multi_label"]:
            mean = mean - torch.log1p(-mean.exp().clamp(max=1 - 1e-6))
        return torch.where(missing[:, None], mean, parts[0])

    def _through(self, image: Tensor, group: Tensor) -> Tensor:
        with group_context(group):
            logits: Tensor = super().forward(image)
        return logits

    def outputs(self, batch: Batch) -> ClassificationOutputs:
        """Return the logits of a batch, each image through the branch of its group."""
        return self._answer(self(batch["image"], self.codes(batch)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch; images of unknown group are left out."""
        group = self.codes(batch)
        rows = torch.nonzero(group >= 0).flatten()
        if not len(rows):  # a loss without gradient, so that all processes step together
            return torch.stack([p.sum() for p in self.parameters()]).sum() * 0
        group, number = group[rows], len(self.hparams["groups"])
        outputs = self._answer(self._through(batch["image"][rows], group))
        label = model_labels(batch["label"][rows], outputs, *self.given)
        fit = group_sum(cross_entropies(outputs.logits, label), group, number)
        apart = disparity(outputs.probabilities, group, number, self.hparams["disparity"] == "hard")
        loss: Tensor = fit + self.hparams["alpha"] * apart
        self.log_dict({"train/loss": loss, "train/fit": fit, "train/disparity": apart})
        return loss

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch, and note how it would be answered with the next group in the place of each."""
        super().test_step(batch, batch_idx)
        group = self.codes(batch)
        rows = torch.nonzero(group >= 0).flatten()
        if len(rows):
            wrong = (group[rows] + 1) % len(self.hparams["groups"])
            outputs = self._answer(self._through(batch["image"][rows], wrong))
            label = model_labels(batch["label"][rows], outputs, *self.given)
            own = (
                (outputs.probabilities >= 0.5) == (label == 1) if label.ndim == 2 else outputs.logits.argmax(1) == label
            )
            known = ~label.isnan() if label.ndim == 2 else torch.ones_like(own)
            for row, right, there in zip(rows.tolist(), own.float(), known, strict=True):
                self.swapped += [(batch["source"][row], each) for each in right[there].tolist()]

    def on_test_epoch_end(self) -> None:
        """Log all figures, and the accuracy under swapped groups."""
        super().on_test_epoch_end()
        swapped, self.swapped = gather_all(self.swapped), []
        for source in dict.fromkeys(name for name, _ in swapped):
            own = [right for name, right in swapped if name == source]
            self.log(f"{source}/{self.hparams['attribute']}/swapped_accuracy", sum(own) / len(own))
