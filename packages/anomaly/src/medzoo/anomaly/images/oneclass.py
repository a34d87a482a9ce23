"""What methods share that train on the normal images of the very categories that are tested."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from torch import Tensor

from medzoo.anomaly.images.thresholds import changed_settings, kept_thresholds
from medzoo.anomaly.lesions.draws import gaussian
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.metrics.segmentation import quantile_threshold
from medzoo.core.runs.schema import check_field
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.core.tasks.anomaly import AnomalyEvaluation, AnomalyOutputs, predictions
from medzoo.core.tasks.base import Prediction
from medzoo.core.tasks.finite import places, require_finite

if TYPE_CHECKING:
    from medzoo.anomaly.data.categories import CategoryDataModule
    from medzoo.anomaly.data.items import Item


class OneClass(Method):
    """Base of methods that learn what is normal from normal images of the tested categories.

    A score has parts, such as two kinds of error. After the last epoch their mean and standard deviation are taken from
    the training images of each category, never from tested ones, and a threshold from every fifth normal image (of
    every fifth patient, where patients are known), which no step has seen. Both are kept in the checkpoint. One network
    serves all categories that it was trained on.

    A subclass defines `parts`, its own `training_step` and `configure_optimizers`; `joined` where parts are not
    added as z scores, and `noted` where it compares with something else than mean and deviation.

    Args:
        size: Height and width of the network's images, one number for a square.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
        multiple: What height and width must be multiples of.
    """

    scored_with: ClassVar[tuple[str, ...]] = ("smooth", "false_alarms")
    """Settings that scores or thresholds depend on beside the weights."""

    def __init__(
        self, size: int | list[int], batch: int, smooth: float, false_alarms: float, multiple: int = 1
    ) -> None:
        super().__init__()
        self.size, self.batch, self.smooth = sides("model.size", size), batch, smooth
        self.false_alarms = false_alarms
        if any(side % multiple for side in self.size):
            raise ConfigError(f"--model.size: expected multiples of {multiple}, got {list(self.size)}")
        if not 0 < false_alarms < 1:
            raise ConfigError(f"--model.false_alarms: expected between 0 and 1, got {false_alarms}")
        if batch < 1:
            raise ConfigError(f"--model.batch: expected at least 1, got {batch}")
        self.norms: dict[str, Tensor] = {}
        """By category what `noted` keeps of the training images, `(2 or more, P)`."""
        self.thresholds: dict[str, float] = {}
        self.changed: list[str] = []
        """Settings that are others than those of the checkpoint, whose means and thresholds then mean nothing."""

    @abstractmethod
    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts of the scores `(B, P)` and score maps `(B, H, W)` of `(B, 3, H, W)`, without chance."""

    def noted(self, found: Tensor) -> Tensor:
        """Return what is kept of the parts `(N, P)` of all training images of a category: mean and deviation."""
        return torch.stack([found.mean(0), found.std(0, correction=0)])

    def joined(self, parts: Tensor, norms: Tensor) -> Tensor:
        """Return the scores `(B,)`: the sum of the parts as z scores of normal images."""
        return ((parts - norms[0]) / norms[1].clamp_min(1e-12)).sum(1)

    def smoothed(self, maps: Tensor) -> Tensor:
        """Return maps `(B, H, W)` after a Gaussian."""
        return gaussian(maps, [0.0, self.smooth, self.smooth])

    @property
    def known_sources(self) -> tuple[str, ...]:
        """The categories that the model was trained on."""
        return tuple(self.norms)

    def wants(self) -> Wants:
        """Return size and batch; the method trains on normal images of the tested categories."""
        return replace(Wants(self.size, self.batch), tested=True)

    @property
    def data(self) -> CategoryDataModule:
        """The data module of the attached trainer."""
        return cast("CategoryDataModule", getattr(self.trainer, "datamodule", None))

    def setup(self, stage: str) -> None:
        """Refuse data without categories."""
        if stage == "fit" and getattr(self.data, "own_items", None) is None:
            raise ConfigError("--data: this model needs categories of images with normal ones to train on")

    def on_train_epoch_end(self) -> None:
        """After the last epoch take means, deviations and thresholds."""
        if self.trainer.current_epoch == (self.trainer.max_epochs or 0) - 1:
            for buffer in self.buffers():  # batch normalisation has seen other images on every process
                buffer.copy_(self.trainer.strategy.broadcast(buffer))
            self.eval()
            for category in self.data.tested:
                learnt, kept = self.data.own_items(category)
                self.norms[category.name] = self.noted(self._parts_of(learnt)).cpu()
                self.thresholds[category.name] = self._threshold(category.name, kept)
            self.changed = []
            self.train()

    def _threshold(self, name: str, kept: Sequence[Item]) -> float:
        if not kept:
            return math.nan
        scores = self.joined(self._parts_of(kept), self.norms[name].to(self.device))
        return quantile_threshold(scores, self.false_alarms)

    @torch.no_grad()
    def _parts_of(self, items: Sequence[Item]) -> Tensor:
        """Return the parts of all of some images; every process looks at all of them."""
        from medzoo.anomaly.data.items import resized

        found = []
        for start in range(0, len(items), self.batch):
            some = items[start : start + self.batch]
            images = torch.stack([resized(item.load(), self.data.size) for item in some])
            found.append(self.parts(images.to(self.device))[0])
            require_finite(list(found[-1]), [item.path or item.id for item in some])
        return torch.cat(found)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep means, deviations and thresholds."""
        checkpoint["norms"], checkpoint["thresholds"] = dict(self.norms), dict(self.thresholds)

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take them over.

        Raises:
            CheckpointError: They are not what was saved.
        """
        norms = checkpoint.get("norms")
        check_field("norms", isinstance(norms, dict) and all(map(_is_norms, norms.values())), "rows by name")
        assert isinstance(norms, dict)
        self.norms, self.thresholds = dict(norms), kept_thresholds(checkpoint, "norms")
        self.changed = changed_settings(checkpoint, self.hparams, self.scored_with)

    def outputs(self, batch: Batch) -> AnomalyOutputs:
        """Score a batch of one category, which its `source` names.

        Raises:
            ConfigError: The model was not trained on the category, or its threshold is of other settings.
            DataError: A score is not finite.
        """
        if self.changed:
            option, value = self.changed[0], self.hparams[self.changed[0]]
            raise ConfigError(
                f"--model.{option}: the checkpoint's threshold is not of {value}; leave the option out, or fit a model "
                "with it"
            )
        name = batch["source"][0]
        if name not in self.norms:
            known = ", ".join(self.norms) or "no category to its end"
            raise ConfigError(f"--data: the model was trained on {known}, not on {name}; train one with --model")
        parts, maps = self.parts(batch["image"])
        scores = self.joined(parts, self.norms[name].to(parts))
        if not torch.compiler.is_exporting():  # a graph has no errors
            require_finite([*torch.cat([scores[:, None], maps.flatten(1)], dim=1)], places(batch))
        return AnomalyOutputs(scores, maps, self.thresholds[name])

    def new_evaluation(self, stage: Literal["validate", "test"]) -> AnomalyEvaluation | None:
        """Return an evaluation on the tested categories."""
        if stage == "validate":
            return None
        return AnomalyEvaluation([category.name for category in self.data.tested], self.device)

    def predictions(self, batch: Batch, outputs: AnomalyOutputs) -> list[Prediction]:
        """Return the score of each image, with its map in original pixels."""
        return predictions(batch, outputs)


def _is_norms(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and len(value) >= 2 and bool(torch.isfinite(value).all())
