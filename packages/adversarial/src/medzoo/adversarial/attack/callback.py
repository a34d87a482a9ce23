"""A test of a model on images that were attacked first: the model's own evaluation judges them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medzoo.adversarial.attack.change import Answer, answer_of
from medzoo.adversarial.attack.goals import Setting, aim_at
from medzoo.adversarial.attack.looking import own_generators
from medzoo.adversarial.engine import Attack, Attacked, Loss, MethodVictim
from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError
from medzoo.core.io import file_name, replacing
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import identity
from medzoo.core.values import Row

_SHOWN = 4
_LEVELS = 255
_SLACK = 1e-3
"""Part of the bounds that resampled images may overshoot them by."""


@dataclass(frozen=True)
class Example:
    """One of the first images, for a picture.

    Attributes:
        name: Id of the image.
        clean: `(C, *S)`.
        attacked: Likewise.
        before: What the model made of the clean image.
        after: And of the attacked one.
    """

    name: str
    clean: Tensor
    attacked: Tensor
    before: Answer
    after: Answer


class UnderAttack(Callback):
    """Replaces the images of each test batch by attacked ones, before the model sees them.

    Args:
        make: Makes the attack for a loss.
        bounds: Lowest and highest value of an image.
        tolerance: Of landmarks, in pixels of the network's image.
        seed: What is random depends on it and on the source and id of the image, not on its batch; that of the
            package behind `AutoAttack` alone is drawn for a batch.
        keep: Folder for the attacked images as NumPy files; None keeps none.
        twin: Model that the attack looks at instead of the tested one, with outputs of the same kind.
    """

    def __init__(
        self,
        make: Callable[[Loss], Attack],
        bounds: tuple[float, float],
        tolerance: float,
        seed: int,
        keep: Path | None = None,
        twin: Method | None = None,
    ) -> None:
        self.make, self.bounds, self.tolerance, self.seed, self.keep = make, bounds, tolerance, seed, keep
        self.twin = twin
        self.rows: list[Row] = []
        self.examples: list[Example] = []
        self._seen: list[tuple[Tensor, Answer]] = []
        """Clean images of the present batch that a picture shows, and the answers for them."""

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Attack the batch.

        Raises:
            ConfigError: The model is no Method, or has no gradients; images have values outside of the bounds.
        """
        if not isinstance(pl_module, Method):
            raise ConfigError(f"{type(pl_module).__name__} has no outputs(batch) to attack; it is no medzoo Method")
        if "image" not in batch:
            raise ConfigError(f"{type(pl_module).__name__}: its batches have no 'image' that an attack could change")
        with torch.no_grad():
            outputs = pl_module.outputs(batch)
        data = getattr(trainer, "datamodule", None)
        setting = Setting(self.tolerance, getattr(data, "domains", ()), getattr(data, "classes", ()))
        aim = aim_at(outputs, batch, setting)
        clean = batch["image"]
        self._check_bounds(clean)
        victim = MethodVictim(pl_module, batch, aim.pick, bounds=self.bounds)
        generators = own_generators(self.seed, batch)
        attack, inside = self.make(aim.loss), clean.clamp(*self.bounds)
        if self.twin is None:
            found = attack(victim, inside, aim.goal, generators)
        else:
            found = self._of_twin(self.twin.to(clean.device), batch, inside, setting, generators)
            found = replace(found, success=attack.succeeds(victim, found.images, aim.goal, generators))
        rounded = attack.succeeds(victim, self._as_saved(found.images), aim.goal, generators)
        batch["image"] = found.images.to(clean)
        shown = range(min(len(clean), _SHOWN - len(self.examples)))
        self._seen = [(clean[i].cpu(), answer_of(outputs, i)) for i in shown]
        known = _known(aim.goal)
        for i, name in enumerate(batch["id"]):
            figures = {key: float(getattr(found, key)[i]) for key in ("success", "linf", "l2", "queries")}
            figures["success_rounded"] = float(rounded[i])
            if not known[i]:
                figures |= dict.fromkeys(("success", "success_rounded"), math.nan)
            self.rows.append({**identity(batch, i, batch["source"][i]), **figures})
            if self.keep is not None:
                target = self.keep / file_name(batch["source"][i]) / f"{file_name(name)}.npy"
                with replacing(target) as part, part.open("wb") as file:
                    np.save(file, batch["image"][i].cpu().numpy())

    def _of_twin(
        self, twin: Method, batch: Batch, images: Tensor, setting: Setting, generators: tuple[torch.Generator, ...]
    ) -> Attacked:
        """Attack the twin with an aim of its own, for its classes and landmarks may stand in another order."""
        with torch.no_grad():
            aim = aim_at(twin.outputs(batch), batch, setting)
        victim = MethodVictim(twin, batch, aim.pick, bounds=self.bounds)
        return self.make(aim.loss)(victim, images, aim.goal, generators)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what pictures show, once the batch was judged: a model that draws numbers has drawn them."""
        if self._seen and isinstance(pl_module, Method):
            with torch.no_grad():
                after = pl_module.outputs(batch)
            for i, (clean, before) in enumerate(self._seen):
                attacked = batch["image"][i].cpu()
                self.examples.append(Example(batch["id"][i], clean, attacked, before, answer_of(after, i)))
        self._seen = []

    def _check_bounds(self, images: Tensor) -> None:
        """Refuse images beyond the bounds: clipped to them, those that count as clean would be others."""
        (low, high), least, most = self.bounds, float(images.amin()), float(images.amax())
        slack = _SLACK * (high - low)
        if least < low - slack or most > high + slack:
            raise ConfigError(
                f"--bounds {low:g},{high:g}: the images of a batch go from {least:g} to {most:g}; give the lowest and "
                "highest value that an image can have"
            )

    def _as_saved(self, images: Tensor) -> Tensor:
        """Return images as a file would hold them: whole numbers, or 256 grey levels where the bounds are narrower."""
        low, high = self.bounds
        levels = 1 if high - low >= _LEVELS else _LEVELS / (high - low)
        return (low + ((images - low) * levels).round() / levels).clamp(low, high)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the rows of all processes together."""
        self.rows = gather_all(self.rows)


def _known(goal: Tensor) -> list[bool]:
    """Return for which images some of the truth is known: an attack can lead no other astray, nor does it withstand."""
    if not goal.is_floating_point():
        return [True] * len(goal)
    known: list[bool] = (~goal.isnan()).reshape(len(goal), -1).any(dim=1).tolist()
    return known
