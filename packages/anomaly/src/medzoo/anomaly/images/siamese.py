"""What methods share that learn to register normal images of other categories (RegAD, CAReg)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Literal

from torch import Tensor

from medzoo.anomaly.images.fewshot import FewShot, Reference
from medzoo.anomaly.images.registration import Siamese, registration_loss
from medzoo.anomaly.images.scores import Rule
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.runs.schema import check_field
from medzoo.core.sample import Batch
from medzoo.core.tasks.anomaly import AnomalyEvaluation


class RegisteringMethod(FewShot[Reference]):
    """Base of methods that bring a query and the mean of its supports together before they score anything.

    A subclass makes `siamese` and sets `train_shots` and `epochs`.

    Args:
        size: Height and width of the network's images, one number for a square.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
        score: How an image's score is made from its map: max, p95 or mean.
    """

    trainable = True
    siamese: Siamese
    train_shots: int | None
    epochs: int

    def __init__(
        self, size: int | list[int], batch: int, smooth: float, false_alarms: float, score: Rule = "max"
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, score)
        self.learnt: list[str] = []
        """The categories that the training saw; figures on them would say nothing of new ones."""

    @abstractmethod
    def aligned(self, images: Tensor) -> Tensor:
        """Return the features `(B, C, h, w)` of `(B, 3, H, W)` images that the siamese head compares."""

    @property
    def max_epochs(self) -> int:
        """As many as the method's option says."""
        return self.epochs

    def wants(self) -> Wants:
        """Return those of all few-shot methods, with supports beside each training image."""
        return replace(super().wants(), supports=self.train_shots)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Bring the encoded query and the mean of its supports, taken before the encoder, together."""
        support = batch["support"]  # (B, K, 3, H, W)
        query = self.aligned(batch["image"])
        others = self.aligned(support.flatten(0, 1))
        mean = others.reshape(*support.shape[:2], *others.shape[1:]).mean(1)  # (B, C, h, w)
        loss = registration_loss(*self.siamese(query, mean))
        self.log("train/loss", loss, batch_size=len(query))
        return loss

    def setup(self, stage: str) -> None:
        """Note the categories that a fit learns from."""
        super().setup(stage)
        if stage == "fit":
            self.learnt = [category.name for category in getattr(self.data, "others", ())]

    def new_evaluation(self, stage: Literal["validate", "test"]) -> AnomalyEvaluation | None:
        """Return an evaluation on categories that the training has not seen, of whatever data set.

        Raises:
            ConfigError: The model was trained on one of them.
        """
        seen = [c.name for c in getattr(self.data, "tested", ()) if c.name in self.learnt]
        if stage == "test" and seen:
            raise ConfigError(
                f"--data.test_categories: the model was trained on {seen[0]}, and its figures are for categories that "
                "it never saw; leave it out, or rename the folder if it holds something else"
            )
        return super().new_evaluation(stage)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep the categories learnt from beside supports and thresholds."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["learnt"] = list(self.learnt)

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take them over.

        Raises:
            CheckpointError: They are not what was saved.
        """
        super().on_load_checkpoint(checkpoint)
        learnt = checkpoint.get("learnt", [])
        names = isinstance(learnt, list) and all(isinstance(name, str) for name in learnt)
        check_field("learnt", names, "names of categories")
        assert isinstance(learnt, list)
        self.learnt = list(learnt)
