"""A classifier on a frozen model of image and text, which its first stage trains or a checkpoint brings."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from pathlib import Path
from typing import Any, ClassVar, Literal, Never, cast

from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor

from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.registry import find, load, specs
from medzoo.core.runs.schema import check_field
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction
from medzoo.core.tasks.classification import (
    ClassificationEvaluation,
    ClassificationOutputs,
    ClassRecord,
    predictions,
    write_predictions,
)
from medzoo.core.zoo import create_model, load_checkpoint
from medzoo.vlm.method import ImageTextMethod
from medzoo.vlm.processor import ReportWants

BACKBONE = "backbone.ckpt"


class OnImageText(Method):
    """A classifier on an image-text model that is known by its name in the registry or by a checkpoint alone.

    In the first stage, `backbone`, everything is that model's. In the second it is frozen, and labels are learnt. A
    subclass hands on what is below as `**kwargs`, and asks `self.trains_backbone` in what it overrides.

    Args:
        stage: `backbone` (the image-text model learns from reports), `prompts` (prompts learn from labels) or `all`.
        backbone: Name of a model that the first stage trains, or a checkpoint that is taken as it is.
        backbone_options: Options of the model that is trained.
        made: What a checkpoint knows of the backbone; leave it alone.
        epochs: Epochs of the second stage.
        steps: Steps instead of epochs.
        batch: Images a batch in the second stage.
        network: What a checkpoint keeps of classes and prompts; empty for a new model.

    Raises:
        ConfigError: There is no such stage.
        CheckpointError: What the checkpoint says of the backbone was changed.
    """

    monitor: ClassVar[str] = "val/auroc"
    monitor_mode: ClassVar[str] = "max"

    stages: ClassVar[tuple[str, ...]] = ("backbone", "prompts")

    def __init__(
        self,
        stage: str = "all",
        backbone: str = "carzero",
        backbone_options: dict[str, Any] | None = None,
        made: dict[str, Any] | None = None,
        epochs: int = 120,
        steps: int | None = None,
        batch: int = 32,
        network: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model: ImageTextMethod | None = None
        self._random = False  # whether the backbone has never been trained
        self.stage = stage
        if self.stage not in ("all", *self.stages):
            raise ConfigError(f"--model.stage: expected all, {' or '.join(self.stages)}, got {self.stage}")
        if self.trains_backbone:
            self.monitor = "val/recall"  # type: ignore[misc]
        if made is not None:
            right = isinstance(made, Mapping) and isinstance(made.get("model"), str)
            check_field("made", right and isinstance(made.get("settings"), Mapping), "a model with its settings")
            cls = load(find("model", made["model"]))
            # In a context of its own: the command line hands the settings of what it builds to all that is built in it.
            self._take(Context().run(lambda: cls(**made["settings"])))

    def _take(self, model: object) -> ImageTextMethod:
        model = model.subject if isinstance(model, OnImageText) else model
        if not isinstance(model, ImageTextMethod):
            kind = type(model).__name__
            raise ConfigError(f"--model.backbone: {kind} does not compare images with texts; take carzero or alike")
        # Lightning notes what is logged for the module whose hook runs, and that is this one.
        setattr(model, "log", self.log)  # noqa: B010
        setattr(model, "log_dict", self.log_dict)  # noqa: B010
        if not self.trains_backbone:
            model.requires_grad_(False)
        self.model = model.train()  # what is fitted and tested with sets the mode itself
        return model

    @property
    def trains_backbone(self) -> bool:
        """Whether this stage trains the backbone."""
        return self.stage == self.stages[0]

    @property
    def subject(self) -> ImageTextMethod:
        """The backbone, loaded or made when first asked for.

        Raises:
            CheckpointError: The checkpoint cannot be used.
            ConfigError: The model's options are wrong, or a checkpoint is to be trained.
            PluginError: No model has that name.
        """
        if self.model is not None:
            return self.model
        name, options = str(self.hparams["backbone"]), self.hparams["backbone_options"] or {}
        if name.endswith(".ckpt") or "/" in name:
            if self.stage != self.stages[1]:
                raise ConfigError(f"--model.backbone: a checkpoint is not trained; add --model.stage {self.stages[1]}")
            return self._take(load_checkpoint(name))
        self._random = True
        try:
            return self._take(create_model(name, **options))
        except TypeError as error:
            raise ConfigError(f"--model.backbone_options: {name} takes no such options: {error}") from error

    def wants(self) -> Wants:
        """Annotated images of the backbone's size; in its stage, what it asks for."""
        if self.trains_backbone:
            return self.subject.wants()
        processor = self.subject.processor
        return ReportWants(processor.size, int(self.hparams["batch"]), labels=True, processor=processor)

    @property
    def given(self) -> tuple[tuple[str, ...], bool]:
        """Classes of the data, and whether several may hold at once.

        Raises:
            ConfigError: The data have none.
        """
        source = getattr(self.trainer, "datamodule", None)
        if source is None or not getattr(source, "classes", ()):
            raise ConfigError(f"--data: {type(source).__name__} has no classes; name labels, or take data with some")
        return source.classes, source.multi_label

    def setup(self, stage: str) -> None:
        """Let the backbone see the data, and note what it is.

        Raises:
            ConfigError: Prompts are to be learnt on a backbone that nothing has trained.
        """
        subject = self.subject
        if stage == "fit" and self._random and not self.trains_backbone:
            name = self.hparams["backbone"]
            raise ConfigError(f"--model.backbone: {name} is not trained; give its checkpoint, or --model.stage all")
        subject.trainer = self.trainer
        if self.trains_backbone or subject.text is None:
            subject.setup(stage if self.trains_backbone else "test")
        settings = {k: v for k, v in subject.hparams.items() if not k.startswith("_")}
        path = f"{type(subject).__module__}:{type(subject).__qualname__}"
        name = next((spec.name for spec in specs("model") if spec.target == path), None)
        if name is None:
            raise ConfigError(f"--model.backbone: {path} is no model of the registry; give it an entry point")
        self.hparams["made"] = {"model": name, "settings": settings}

    def on_train_start(self) -> None:
        """Keep a frozen backbone in evaluation mode, in the middle of a resumed epoch too."""
        if not self.trains_backbone:
            self.subject.eval()

    def on_train_epoch_start(self) -> None:
        """Keep a frozen backbone in evaluation mode."""
        self.on_train_start()

    @property
    def max_epochs(self) -> int | None:
        """The backbone's in its stage."""
        return self.subject.max_epochs if self.trains_backbone else super().max_epochs

    @property
    def max_steps(self) -> int | None:
        """The backbone's in its stage."""
        return self.subject.max_steps if self.trains_backbone else super().max_steps

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Write the trained backbone to `backbone.ckpt` for the next stage."""
        path = folder / BACKBONE
        self.trainer.save_checkpoint(path)
        return {"backbone": str(path), "backbone_options": None}

    def training_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Take the backbone's step."""
        return self.subject.training_step(batch, batch_idx)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the backbone's."""
        return self.subject.configure_optimizers()

    def on_validation_start(self) -> None:
        """Let a backbone that is trained encode its prompts."""
        if self.trains_backbone:
            self.subject.on_validation_start()
        super().on_validation_start()

    def on_test_start(self) -> None:
        """Let a backbone that was trained encode its prompts."""
        if self.trains_backbone:
            self.subject.on_test_start()
        super().on_test_start()

    def on_predict_start(self) -> None:
        """Let a backbone that was trained encode its prompts."""
        if self.trains_backbone:
            self.subject.on_predict_start()

    def outputs(self, batch: Batch) -> Any:
        """Return the backbone's."""
        return self.subject.outputs(batch)

    def answer(self, logits: Tensor) -> ClassificationOutputs:
        """Return logits of the classes as the outputs of a classification."""
        known = self.hparams["network"]
        return ClassificationOutputs(logits, tuple(known["classes"]), known["multi_label"])

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return the backbone's, or one of classes; a test has intervals."""
        if self.trains_backbone:
            return self.subject.new_evaluation(stage)
        return ClassificationEvaluation(*self.given, spread=stage == "test")

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose what the backbone does, or the macro figures."""
        if self.trains_backbone:
            return self.subject.validation_scores(scores)
        each = {n: [float(v) for k, v in scores.items() if k.rpartition("/")[2] == n] for n in ("auroc", "ap")}
        return {name: sum(values) / len(values) for name, values in each.items() if values}

    def predictions(self, batch: Batch, outputs: Any) -> list[Prediction]:
        """Return a record an image."""
        if self.trains_backbone:
            return self.subject.predictions(batch, outputs)
        return predictions(batch, outputs)

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write `predictions.csv`."""
        if self.trains_backbone:
            self.subject.report_predictions(records, folder)
        else:
            write_predictions(cast(list[ClassRecord], records), folder)
