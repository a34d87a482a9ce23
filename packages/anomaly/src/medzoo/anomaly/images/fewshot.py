"""What the image methods share: a reference from a few normal images of a category, and scores against it."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.images.scores import RULES, Rule, image_scores
from medzoo.anomaly.images.thresholds import changed_settings, kept_thresholds
from medzoo.anomaly.lesions.draws import gaussian
from medzoo.core.backbones.features import EncoderFeatures
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

Reference = TypeVar("Reference")
_FOLDS = 8  # of the supports, to score each by the others


class FewShot(Method, Generic[Reference]):
    """Base of methods that compare an image with normal ones of its category.

    After the fit the support of every tested category is kept in the checkpoint, with a threshold from scoring each
    support image by the others. A category that the checkpoint does not know takes both from the data at hand, without
    training. Scores are raw: larger is more abnormal, and nothing is normalised or clamped before ranking.

    A subclass that trains on other categories sets `trainable` and has its own `training_step`, `max_epochs` and
    `configure_optimizers`; otherwise a fit is one look at the supports.

    Args:
        size: Height and width of the network's images, one number for a square.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal; a few supports cannot promise less
            than one in their number.
        score: How an image's score is made from its map: max, p95 or mean.
    """

    trainable = False
    """A subclass that trains on other categories says so."""

    def __init__(
        self, size: int | list[int], batch: int, smooth: float, false_alarms: float, score: Rule = "max"
    ) -> None:
        super().__init__()
        if score not in RULES:
            raise ConfigError(f"--model.score: expected one of {', '.join(RULES)}, got {score}")
        self.size, self.batch, self.smooth, self.false_alarms = sides("model.size", size), batch, smooth, false_alarms
        if not 0 <= smooth <= max(self.size):
            raise ConfigError(f"--model.smooth: expected 0 to {max(self.size)}, got {smooth}")
        if not 0 < false_alarms < 1:
            raise ConfigError(f"--model.false_alarms: expected between 0 and 1, got {false_alarms}")
        if batch < 1:
            raise ConfigError(f"--model.batch: expected at least 1, got {batch}")
        self.rule = score
        self.supports: dict[str, Tensor] = {}
        self.patients: dict[str, list[int]] = {}
        """Of each support the number of its patient, by which a checkpoint names nobody."""
        self.thresholds: dict[str, float] = {}
        self.current: tuple[str, Reference] | None = None
        self.stale = False
        """The thresholds are of other settings, such as another rule of the score."""

    @abstractmethod
    def reference(self, supports: Tensor) -> Reference:
        """Return what is kept of `(K, 3, H, W)` normal images."""

    @abstractmethod
    def coarse_scores(self, reference: Reference, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return `(B, h, w)` scores of positions, and `(B,)` of images where "max" is not the largest of the map."""

    @property
    def known_sources(self) -> tuple[str, ...]:
        """The categories that the model has a support of."""
        return tuple(self.supports)

    def wants(self) -> Wants:
        """Return the size of the images and of a batch, and whether the method trains on other categories."""
        return Wants(self.size, self.batch, self.trainable)

    @property
    def max_epochs(self) -> int:
        """One where nothing is trained: there is nothing to repeat."""
        return 1

    def setup(self, stage: str) -> None:
        """Refuse a fit on several devices where there is nothing to share; read the weights that a fit starts from."""
        if stage == "fit" and not self.trainable and self.trainer.world_size > 1:
            raise ConfigError("--trainer.devices: this model trains nothing; fit it on 1 device")
        if stage == "fit" and self.trainer.ckpt_path is None:
            for part in self.modules():
                if isinstance(part, EncoderFeatures):
                    part.start()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Do nothing: the reference is made from the supports at the end of the epoch."""
        return None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """There is nothing to optimise; Lightning's warnings that this may be a slip are wrong here."""
        warnings.filterwarnings("ignore", message=".*returned `None`.*")
        return None

    def score(self, reference: Reference, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return image scores `(B,)` and score maps `(B, H, W)` of `(B, 3, H, W)`."""
        coarse, whole = self.coarse_scores(reference, images)
        fine = F.interpolate(coarse[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        maps = gaussian(fine, [0.0, self.smooth, self.smooth])
        return (whole if whole is not None and self.rule == "max" else image_scores(maps, self.rule)), maps

    @torch.no_grad()
    def threshold_of(
        self, supports: Tensor, names: Sequence[str] | None = None, patients: Sequence[int] | None = None
    ) -> float:
        """Return the threshold from scoring each support image by those of others; NaN where there are no others.

        Args:
            supports: `(K, 3, H, W)` normal images.
            names: Their files or names, for a message; their numbers from 0 where not given.
            patients: Number of the patient of each, each its own where not given. An image is never scored by another
                of its patient, which is more like it than those of a new patient will be.

        Raises:
            DataError: A score is not finite.
        """
        count = len(supports)
        own = torch.arange(count) if patients is None else torch.tensor(patients)
        each = own.unique()
        if len(each) < 2:
            return math.nan
        found = torch.empty(count, device=supports.device)
        for part in each.tensor_split(min(len(each), _FOLDS)):
            held = torch.isin(own, part)
            reference = self.reference(supports[~held])
            found[held] = torch.cat([self.score(reference, batch)[0] for batch in supports[held].split(16)])
        require_finite(list(found), names or [f"support {i}" for i in range(count)])
        return quantile_threshold(found, self.false_alarms)

    @property
    def data(self) -> CategoryDataModule:
        """The data module of the attached trainer."""
        return cast("CategoryDataModule", getattr(self.trainer, "datamodule", None))

    def on_train_epoch_end(self) -> None:
        """After the last epoch keep the supports and their thresholds."""
        if self.trainer.current_epoch == (self.trainer.max_epochs or 0) - 1:
            for buffer in self.buffers():  # batch normalisation has seen other images on every process
                buffer.copy_(self.trainer.strategy.broadcast(buffer))
            self.eval()
            self._take_supports(refresh=True)
            self.train()

    @torch.no_grad()
    def _take_supports(self, refresh: bool = False) -> None:
        """Take the supports of categories from the data; known categories keep theirs unless `refresh`.

        Their thresholds are chosen anew where settings are others than those of the checkpoint.
        """
        data = self.data
        offered = getattr(data, "supports", None)
        if offered is None:
            raise ConfigError("--data: this model needs categories of images with normal ones to compare with")
        tested = [category.name for category in data.tested]
        for name, images in self.supports.items() if self.stale and not refresh else ():
            self.thresholds[name] = self.threshold_of(images.to(self.device).float(), None, self.patients.get(name))
        self.stale = False
        if refresh or any(name not in self.supports for name in tested):
            items = {c.name: data.support_items(c) for c in data.tested}
            for name, images in offered().items():
                if refresh or name not in self.supports:
                    self.supports[name] = images
                    self.patients[name] = _numbered([item.patient for item in items[name]])
                    files = [item.path or item.id for item in items[name]]
                    given = images.to(self.device).float()
                    self.thresholds[name] = self.threshold_of(given, files, self.patients[name])

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep supports, whose they are, and thresholds."""
        checkpoint["supports"], checkpoint["thresholds"] = dict(self.supports), dict(self.thresholds)
        checkpoint["support_patients"] = dict(self.patients)

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take supports and thresholds over.

        Raises:
            CheckpointError: They are not what was saved.
        """
        supports = checkpoint.get("supports")
        images = isinstance(supports, dict) and all(map(_is_images, supports.values()))
        check_field("supports", images, "images by name")
        assert isinstance(supports, dict)
        patients = checkpoint.get("support_patients", {})  # those of earlier versions have none
        known = isinstance(patients, dict) and all(
            _are_numbers(each, supports.get(name)) for name, each in patients.items()
        )
        check_field("support_patients", known, "a number for each image of 'supports'")
        assert isinstance(patients, dict)
        self.supports, self.thresholds = dict(supports), kept_thresholds(checkpoint, "supports")
        self.patients = dict(patients)
        self.stale = bool(changed_settings(checkpoint, self.hparams, self.hparams))

    def _reference(self, name: str) -> Reference:
        """Return the reference of a category; one is held at a time, as tests go category by category."""
        if self.current is None or self.current[0] != name:
            self.current = None
            if name not in self.supports:
                known = ", ".join(self.supports) or "none"
                raise ConfigError(f"the model has no support of {name!r}, only of {known}; test it with --data first")
            images = self.supports[name].to(self.device).float()
            if images.shape[-2:] != self.size:
                raise ConfigError(
                    f"--data.size: the supports are {tuple(images.shape[-2:])}, the model takes {self.size}"
                )
            self.current = name, self.reference(images)
        return self.current[1]

    def outputs(self, batch: Batch) -> AnomalyOutputs:
        """Score a batch of one category, which its `source` names, against that category's support.

        Raises:
            ConfigError: The model has no support of the category.
            DataError: A score is not finite.
        """
        name = batch["source"][0]
        scores, maps = self.score(self._reference(name), batch["image"])
        if not torch.compiler.is_exporting():  # a graph has no errors
            require_finite([*torch.cat([scores[:, None], maps.flatten(1)], dim=1)], places(batch))
        return AnomalyOutputs(scores, maps, self.thresholds[name])

    def new_evaluation(self, stage: Literal["validate", "test"]) -> AnomalyEvaluation | None:
        """Return an evaluation on the tested categories, each with its support."""
        if stage == "validate":
            return None
        self.current = None
        self._take_supports()
        tested = [category.name for category in self.data.tested]
        return AnomalyEvaluation(tested, self.device)

    def on_predict_epoch_start(self) -> None:
        """See that every category has its support."""
        self.current = None
        self._take_supports()

    def predictions(self, batch: Batch, outputs: AnomalyOutputs) -> list[Prediction]:
        """Return the score of each image, with its map in original pixels."""
        return predictions(batch, outputs)


def pieces(images: Tensor, most: int) -> Sequence[Tensor]:
    """Split a batch for what fits into memory; an exported graph, which has no loops, takes it whole."""
    return [images] if torch.compiler.is_exporting() else images.split(most)


def _numbered(patients: Sequence[str]) -> list[int]:
    """Return a number for each patient; an image without one is its own."""
    owners = [patient or f"image {i}" for i, patient in enumerate(patients)]
    numbers = {owner: i for i, owner in enumerate(dict.fromkeys(owners))}
    return [numbers[owner] for owner in owners]


def _are_numbers(value: object, images: object) -> bool:
    known = isinstance(value, list) and all(isinstance(number, int) for number in value)
    return known and isinstance(images, Tensor) and isinstance(value, list) and len(value) == len(images)


def _is_images(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[1] == 3 and bool(torch.isfinite(value).all())
