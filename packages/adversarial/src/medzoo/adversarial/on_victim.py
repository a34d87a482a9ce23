"""The base of methods that look at a model of the zoo: the first stage trains it, or takes a trained one as it is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextvars import Context
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Never

from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from medzoo.core.data.wants import Wants
from medzoo.core.errors import CheckpointError, ConfigError
from medzoo.core.method import Method
from medzoo.core.registry import find, load, specs
from medzoo.core.runs.schema import check_field
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction
from medzoo.core.zoo import create_model, load_checkpoint

VICTIM = "victim.ckpt"
"""File that the first stage leaves for the second."""


class OnVictim(Method):
    """A Method about another one, its victim, which is known by its name in the registry or by a checkpoint alone.

    In the first stage everything is the victim's: training, validation, test. The second is the subclass's; it trains
    nothing, and the weights of the victim stay as they are. A subclass has the arguments below among its own, calls
    `save_hyperparameters()` and then `begin()` in its `__init__`.

    Args of a subclass:
        stage: `victim`, the subclass's second stage, or `all`.
        victim: Name of a model that the first stage trains, or a checkpoint that is taken as it is.
        victim_options: Its options, where it is trained.
        made: What a checkpoint knows of the victim; nobody gives it by hand.
    """

    stages: ClassVar[tuple[str, ...]] = ("victim", "attack")

    def __init__(self) -> None:
        super().__init__()
        self.victim: Method | None = None

    def begin(self) -> None:
        """Look at the stage, and build the victim where a checkpoint tells what it is.

        Raises:
            ConfigError: There is no such stage.
            CheckpointError: What the checkpoint tells of the victim was changed.
        """
        self.stage, made = self.hparams["stage"], self.hparams["made"]
        if self.stage not in ("all", *self.stages):
            raise ConfigError(f"--model.stage: expected all, {' or '.join(self.stages)}, got {self.stage}")
        if made is not None:
            right = isinstance(made, Mapping) and isinstance(made.get("model"), str)
            check_field("made", right and isinstance(made.get("settings"), Mapping), "a model with its settings")
            cls = load(find("model", made["model"]))
            # In a context of its own: the command line hands the settings of what it builds to all that is built in it.
            self._take(Context().run(lambda: cls(**made["settings"])))

    def _take(self, model: object) -> Method:
        """Take a model as victim."""
        model = model.subject if isinstance(model, OnVictim) else model
        if not isinstance(model, Method) or isinstance(model, OnVictim):
            raise ConfigError(f"--model.victim: {type(model).__name__} has no outputs(batch) to attack")
        self.check_victim(model)
        # Lightning notes what is logged for the module whose hook runs, and that is this one.
        setattr(model, "log", self.log)  # noqa: B010
        setattr(model, "log_dict", self.log_dict)  # noqa: B010
        self.victim = model.train()  # what is trained, tested and predicted with sets the mode itself
        if self.stage != "victim" or self.given:
            model.requires_grad_(False)
        return model

    def check_victim(self, model: Method) -> None:
        """Refuse a victim that the method has no use for; a subclass has its own rule."""

    @property
    def given(self) -> bool:
        """Whether the victim is a checkpoint and not to be trained."""
        name = str(self.hparams["victim"])
        return name.endswith(".ckpt") or "/" in name

    @property
    def subject(self) -> Method:
        """The victim, loaded or made when first asked for.

        Raises:
            CheckpointError: The checkpoint cannot be used.
            ConfigError: The model's options are wrong, or it is trained in stages, of which this would be the first.
            PluginError: No model has that name.
        """
        if self.victim is not None:
            return self.victim
        name, options = str(self.hparams["victim"]), self.hparams["victim_options"] or {}
        if self.given:
            return self._take(load_checkpoint(name))
        try:
            model = create_model(name, **options)
        except TypeError as error:
            raise ConfigError(f"--model.victim_options: {name} takes no such options: {error}") from error
        if getattr(model, "stages", ()):
            raise ConfigError(f"--model.victim: {name} is trained in stages; train it first and give its checkpoint")
        return self._take(model)

    def wants(self) -> Wants:
        """Return what the victim asks for."""
        wants = self.subject.wants()
        return wants if self.trains_victim else replace(wants, trains=False)

    @property
    def trains_victim(self) -> bool:
        """Whether this stage trains the victim."""
        return self.stage != self.stages[-1] and not self.given

    @property
    def max_epochs(self) -> int | None:
        """The victim's; one look where nothing is trained."""
        return self.subject.max_epochs if self.trains_victim else 1

    @property
    def max_steps(self) -> int | None:
        """The victim's."""
        return self.subject.max_steps if self.trains_victim else None

    def setup(self, stage: str) -> None:
        """Let the victim see the data.

        Raises:
            ConfigError: There are several processes.
        """
        if self.trainer.world_size > 1:
            raise ConfigError("--trainer.devices: this model looks at its images on 1 device; take one")
        victim = self.subject
        victim.trainer = self.trainer
        victim.setup(stage if self.trains_victim or stage != "fit" else "test")
        self._note(victim)

    def _note(self, victim: Method) -> None:
        settings = {k: v for k, v in victim.hparams.items() if not k.startswith("_")}
        path = f"{type(victim).__module__}:{type(victim).__qualname__}"
        names = [spec.name for spec in specs("model") if spec.target == path]
        if not names:
            raise ConfigError(f"--model.victim: {path} is no model of the registry; give it an entry point")
        self.hparams["made"] = {"model": names[0], "settings": settings}

    def training_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Take the victim's step; nothing where it is not trained."""
        return self.subject.training_step(batch, batch_idx) if self.trains_victim else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the victim's; where nothing is trained, Lightning's warnings that this may be a slip are wrong."""
        if self.trains_victim:
            return self.subject.configure_optimizers()
        warnings.filterwarnings("ignore", message=".*returned `None`.*")
        return None

    def on_fit_start(self) -> None:
        """Let the victim look at its data."""
        if self.trains_victim:
            self.subject.on_fit_start()

    def on_train_start(self) -> None:
        """Keep the victim in evaluation mode where it is not trained."""
        if self.trains_victim:
            self.subject.on_train_start()
        else:
            self.subject.eval()

    def on_train_epoch_start(self) -> None:
        """Let the victim begin its epoch."""
        if self.trains_victim:
            self.subject.on_train_epoch_start()
        else:
            self.subject.eval()

    def on_train_epoch_end(self) -> None:
        """Let the victim end its epoch; in the second stage `look` at the data after the last."""
        if self.trains_victim:
            self.subject.on_train_epoch_end()
        elif self.stage == self.stages[-1] and self.trainer.current_epoch == (self.trainer.max_epochs or 0) - 1:
            self.eval()
            self.look()
            self.train()

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int) -> None:
        """Let the victim end its step, such as one that averages its weights."""
        if self.trains_victim:
            self.subject.on_train_batch_end(outputs, batch, batch_idx)

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """Let the victim follow its step."""
        if self.trains_victim:
            self.subject.on_before_zero_grad(optimizer)

    def look(self) -> None:
        """Learn from the data what the second stage needs to know; nothing unless a subclass does."""

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Write the trained victim to `victim.ckpt` for the next stage; a dry run has no checkpoint otherwise."""
        if self.given:
            return {}
        path = folder / VICTIM
        self.trainer.save_checkpoint(path)
        return {"victim": str(path), "victim_options": None}

    def outputs(self, batch: Batch) -> Any:
        """Return the victim's."""
        return self.subject.outputs(batch)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return the victim's."""
        return self.subject.new_evaluation(stage)

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose what the victim does."""
        return self.subject.validation_scores(scores)

    def predictions(self, batch: Batch, outputs: Any) -> list[Prediction]:
        """Return the victim's."""
        return self.subject.predictions(batch, outputs)

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write the victim's."""
        self.subject.report_predictions(records, folder)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Keep what the victim keeps beside its weights."""
        own: dict[str, object] = {}
        self.subject.on_save_checkpoint(own)
        checkpoint["of_victim"] = own

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Give it back.

        Raises:
            CheckpointError: It is not what was saved.
        """
        own = checkpoint.get("of_victim")
        check_field("of_victim", isinstance(own, dict), "what the victim keeps")
        assert isinstance(own, dict)
        if self.victim is None:
            raise CheckpointError("the checkpoint does not tell its victim")
        self.victim.on_load_checkpoint(own)
