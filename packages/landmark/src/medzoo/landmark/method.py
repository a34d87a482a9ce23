"""The base of the landmark methods: domains and shots from the data, and the task's outputs."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from torch import Tensor

from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.runs.callbacks import LAST
from medzoo.core.runs.schema import check_field
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.core.tasks.base import Prediction
from medzoo.core.tasks.landmark_records import LandmarkRecord, predictions, write_table
from medzoo.core.tasks.landmark_types import Domain, LandmarkOutputs
from medzoo.core.tasks.landmarks import LandmarkEvaluation
from medzoo.landmark.calibration import COPIES, calibrations, is_calibration, sureness
from medzoo.landmark.data.baseline import copied_shot, observer_errors
from medzoo.landmark.data.pictures import pictures
from medzoo.landmark.found import Found
from medzoo.landmark.networks.routing import weights_by_name
from medzoo.landmark.rehearsal import Rehearsals
from medzoo.landmark.shots import Domains, Shots, check_order, is_shot, place_of, shots_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medzoo.landmark.data.module import LandmarkDataModule
    from medzoo.landmark.matching.embedder import Embedder


class LandmarkMethod(Method):
    """A Method that finds the landmarks of known domains in images.

    A subclass builds its networks in `build` and finds points in `forward`; training is its own. `domains` is an
    `__init__` argument of each, empty until the data names them, and saved with the weights. It calls its settings
    `size`, `batch`, `lr`, `epochs` and `steps`, with the prefix of the stage if need be.
    """

    supervised: ClassVar[bool] = False
    """Train on batches of annotated images only, with `landmarks` and `visible`: `--data.shots` says how many.

    Otherwise training batches are all training images, without labels.
    """

    keeps_shots: ClassVar[bool] = False
    """Take the shots from the data and keep them with the weights, as part of what the model knows."""

    monitor: ClassVar[str] = "val/mre"
    """Error on the validation images, where there are any; else `best.ckpt` is the last."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        """Names of the domains."""
        self.shots: list[Shots] = []
        """Of each domain, where the method keeps them."""
        self.calibration: dict[str, Tensor] = {}
        """By domain, what scores say of errors, see `medzoo.landmark.calibration`; empty where that was not learnt."""
        self.rehearsals = Rehearsals(self)
        """Drawn radiographs of the domains that the training rehearses."""

    @abstractmethod
    def build(self, domains: Domains) -> None:
        """Make the networks, once the domains are known."""

    @abstractmethod
    def forward(self, image: Tensor, domain: int) -> Found:
        """Find the landmarks of a domain.

        Args:
            image: `(B, 1, H, W)` in [0, 1].
            domain: Index of the domain in `names`.
        """

    @property
    def embedder(self) -> Embedder | None:
        """The network that embeds pixels for matching, where this stage of the method has one; see `medzoo select`."""
        return None

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return sides(f"model.{self.option('size')}", self.stage_hparam("size"))

    @property
    def known_sources(self) -> tuple[str, ...]:
        """The domains."""
        return tuple(self.names)

    def wants(self) -> Wants:
        """Images of `input_size`, in the batches of the current stage."""
        return Wants(self.input_size, int(self.stage_hparam("batch")), labels=self.supervised)

    def build_for_domains(self, domains: Domains | None) -> None:
        """Build the networks for these domains; while there are none, only refuse an impossible size of images."""
        _ = self.input_size
        if domains:
            self.hparams["domains"] = {name: list(landmarks) for name, landmarks in domains.items()}
            self.names = list(domains)
            self.build(self.hparams["domains"])

    def configure_model(self) -> None:
        """Take the domains from the data where no checkpoint has them."""
        if not self.names:
            for domain in self.data.domains:
                if self.supervised and not domain.landmarks:
                    raise ConfigError(f"the data have no label of {domain.name}, and this model trains on labels alone")
            self.build_for_domains({d.name: list(d.landmarks) for d in self.data.domains})

    @property
    def data(self) -> LandmarkDataModule:
        """The landmark data module of the attached trainer."""
        return cast("LandmarkDataModule", getattr(self.trainer, "datamodule", None))

    def setup(self, stage: str) -> None:
        """Build the networks, which Lightning would do after this, and take the shots from the data to train on."""
        if self.data is not None and not hasattr(self.data, "domains"):
            kind = type(self.data).__name__
            raise ConfigError(f"--data: {kind} has no landmarks; choose a landmark data module of medzoo list")
        if stage == "fit":
            self.configure_model()
            check_order(self.hparams["domains"], getattr(self.data, "domains", ()))  # no data where loaders are given
            if self.supervised:
                self.rehearsals.prepare()
            if self.keeps_shots:
                self.shots = shots_of(self.data, type(self).__name__)
        if self.embedder is not None:
            self.check_sides(self.embedder.strides[0])

    def check_sides(self, multiple: int, whose: str = "") -> None:
        """Refuse images whose sides the strides of a network do not divide: its maps would not lie on them.

        Args:
            multiple: The coarsest stride.
            whose: What the message adds.

        Raises:
            ConfigError: A side is no multiple.
        """
        size = self.input_size if self.data is None else self.data.geometry.size
        if any(side % multiple for side in size):
            option = f"--model.{self.option('size')}"
            raise ConfigError(f"{option}: expected multiples of {multiple}{whose}, got {size}")

    def initial_weights(self, weights: Mapping[str, Tensor], settings: Mapping[str, object]) -> Mapping[str, Tensor]:
        """Take what belongs to a domain from the domain of that name, wherever it stands in the other model."""
        known = settings.get("domains")
        return weights_by_name(self, weights, list(known), self.names) if isinstance(known, dict) else weights

    def on_train_epoch_end(self) -> None:
        """After the last epoch, learn from the annotated images what the scores of a supervised method are worth."""
        ends = self.trainer.global_step == self.trainer.max_steps
        ends = ends or self.trainer.current_epoch + 1 == self.trainer.max_epochs
        if self.supervised and ends and hasattr(self.data, "annotated"):  # none where loaders are given
            images = self.data.annotated(COPIES)
            found = calibrations(self, map(images.__getitem__, range(len(images))))
            self.calibration = self.trainer.strategy.broadcast(found)  # running statistics differ between processes

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep the shots and what scores are worth with the weights."""
        if self.calibration:
            checkpoint["calibration"] = dict(self.calibration)
        if self.keeps_shots:
            checkpoint["shots"] = [{"image": s["image"].cpu(), "points": s["points"].cpu()} for s in self.shots]

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take the shots back.

        Raises:
            CheckpointError: They are not what was saved.
        """
        shots = checkpoint.get("shots", [])
        check_field("shots", isinstance(shots, list) and all(map(is_shot, shots)), "a list of images with points")
        self.shots = cast(list[Shots], shots)
        given = checkpoint.get("calibration", {})
        check_field(
            "calibration", is_calibration(given, self.hparams["domains"] or {}), "a number a landmark and a slope"
        )
        self.calibration = cast(dict[str, Tensor], given)

    def index_of(self, name: str) -> int:
        """Return the index in `names` of a domain of the data, in which the model can find something.

        Raises:
            ConfigError: The model was trained on no domain of that name, or without shots.
        """
        if self.keeps_shots and not self.shots:
            raise ConfigError("the model was trained with --data.shots 0 and finds nothing; train it with shots")
        return place_of(name, self.names)

    def outputs(self, batch: Batch) -> LandmarkOutputs:
        """Find the landmarks of a batch of one domain, which its `source` names."""
        name = batch["source"][0]
        found: Found = self(batch["image"], self.index_of(name))
        known = self.calibration.get(name)
        scores = found.scores if known is None else sureness(found.scores, known)
        return LandmarkOutputs(found.points, scores, found.maps, tuple(self.hparams["domains"][name]))

    def new_evaluation(self, stage: Literal["validate", "test"]) -> LandmarkEvaluation:
        """Return an evaluation on the domains of the data; a test has annotators and copied shots beside it."""
        domains: list[Domain] = self.data.domains
        if stage == "validate":
            return LandmarkEvaluation(domains, self.device)
        tested = self.trainer.ckpt_path  # none after a training, whose final weights are tested
        observers = observer_errors(self.data)
        copied = copied_shot(self.data)
        return LandmarkEvaluation(domains, self.device, observers, copied, pictures(self.data), str(tested or LAST))

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose `<domain>/mre_<unit>`, and `mre`, the mean over the domains, each in its own unit."""
        errors = {name: torch.as_tensor(v) for name, v in scores.items() if name.endswith(("mre_mm", "mre_px"))}
        return {**errors, "mre": torch.stack(list(errors.values())).mean()}

    def on_test_epoch_end(self) -> None:
        """Log all figures, and name images with points that were not found."""
        super().on_test_epoch_end()
        if isinstance(self.evaluation, LandmarkEvaluation):
            self.evaluation.print_gaps()

    def predictions(self, batch: Batch, outputs: LandmarkOutputs) -> list[Prediction]:
        """Return a record an image, in original pixels, with an overlay."""
        return predictions(batch, outputs, batch["source"][0], pictures(self.data))

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write `predictions.csv`."""
        write_table(cast(list[LandmarkRecord], records), folder)
