"""The base of methods that learn to match in stage 1, and in stage 2 to detect with the labels of stage 1."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from medzoo.core.errors import check_choice
from medzoo.core.sample import Batch
from medzoo.landmark.found import Found
from medzoo.landmark.labelling import write_labels
from medzoo.landmark.matching.cascade import Cascade, Sampler
from medzoo.landmark.matching.embedder import Embedder
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.pseudo import PseudoLabels
from medzoo.landmark.views import View


class MatchThenDetect(LandmarkMethod):
    """A LandmarkMethod in two stages; a subclass gives the networks of both, and the loss and the answer of stage 2.

    The settings of stage 1 begin with `match_`, those of stage 2 with `detect_`; `pseudo_labels` is the file between.
    In `__init__` a subclass calls `begin`, and last `build_for_domains`.
    """

    stages: ClassVar[tuple[str, ...]] = ("stage1", "stage2")
    prefixes: ClassVar[dict[str, str]] = {"all": "match_", "stage1": "match_", "stage2": "detect_"}
    keeps_shots: ClassVar[bool] = True
    trains_in_parts: ClassVar[bool] = True

    cascade: Cascade
    """How stage 1 is trained and finds landmarks."""
    view: View
    """Changes whole images."""
    sample: Sampler
    """Cuts patches."""

    def begin(self, stage: str, cascade: Cascade, augment: float, sample: Sampler) -> None:
        """Take what does not depend on the domains.

        Args:
            stage: One of `stages`, or `all`.
            cascade: How stage 1 is trained and finds landmarks.
            augment: Strength of the changes of whole images.
            sample: Cuts the patches of stage 1.

        Raises:
            ConfigError: There is no such stage.
        """
        check_choice("model.stage", stage, ("all", *self.stages))
        self.stage, self.cascade, self.sample = stage, cascade, sample
        self.view = View(augment)
        self.network: nn.Module | None = None
        self.patch_network: nn.Module | None = None
        self.labels: PseudoLabels | None = None

    @abstractmethod
    def start(self) -> None:
        """Take the weights to start from."""

    @abstractmethod
    def detection_loss(self, batch: Batch, domain: int) -> Tensor:
        """Return the loss of a batch of one domain in stage 2."""

    @abstractmethod
    def detect(self, image: Tensor, domain: int) -> Found:
        """Find landmarks in stage 2, see `forward`."""

    @property
    def matcher(self) -> Embedder:
        """The network of stage 1 for whole images."""
        assert self.stage != "stage2"
        return cast(Embedder, self.network)

    @property
    def embedder(self) -> Embedder | None:
        """The network of stage 1."""
        return None if self.stage == "stage2" else self.matcher

    def setup(self, stage: str) -> None:
        """Take the shots from the data to train on, the weights to start from, and the labels of stage 1."""
        super().setup(stage)
        if stage != "fit":
            return
        self.start()
        if self.stage == "stage2":
            self.labels = PseudoLabels.of_training_images(self.hparams["pseudo_labels"], self.data)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of one domain."""
        domain = int(batch["domain"][0])
        loss = self.detection_loss(batch, domain) if self.stage == "stage2" else self.matching_loss(batch, domain)
        self.log("train/loss", loss)
        return loss

    def matching_loss(self, batch: Batch, domain: int) -> Tensor:
        """Return the loss of a batch in stage 1: that of all strides."""
        image, _ = self.view(batch["image"])
        patches = cast("Embedder | None", self.patch_network)
        return torch.stack(self.cascade.loss(self.matcher, patches, image, domain, self.sample)).sum()

    def forward(self, image: Tensor, domain: int) -> Found:
        """Find the landmarks of a domain: by the shots in stage 1, by the detector in stage 2.

        The score is the similarity to the shot in stage 1, and that of the detector in stage 2.
        """
        if self.stage == "stage2":
            return self.detect(image, domain)
        return self.cascade.find(self.matcher, self.shots[domain], image, domain)

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Write the labels of all training images for stage 2."""
        return write_labels(self, folder, type(self).__name__.lower())
