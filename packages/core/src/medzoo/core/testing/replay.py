"""What a kill after each step would leave on the disk, and whether a run continued from there ends the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from medzoo.core.cli.parser import TRUSTED
from medzoo.core.runs.callbacks import BEST, LAST
from medzoo.core.runs.checkpoint_io import read_checkpoint

STEPS, GRADIENTS = "steps", "gradients.json"
_TRAINED = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")


class Snapshots(Checkpoint):
    """Keep what a kill after each optimiser step would leave: checkpoint, table and best weights.

    They go to `steps/<epoch>-<batch>/` in the folder of the stage; at the end of an epoch it is what the run itself has
    saved. As a `Checkpoint` it comes after the callbacks of the run, like one of Lightning's own that a user adds.
    """

    def __init__(self) -> None:
        self.seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count steps from here."""
        self.seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Keep the step, unless gradients are still being accumulated: they are in no checkpoint."""
        if trainer.global_step != self.seen and not trainer.is_last_batch:
            self._keep(trainer, f"{batch_idx:05}")
        self.seen = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what a checkpoint made after a validation would hold."""
        progress = trainer.fit_loop.epoch_loop.batch_progress
        whole = progress.current.ready % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if whole and not trainer.sanity_checking:
            self._keep(trainer, f"{progress.current.ready - 1:05}-validated")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the run has saved of the epoch before."""
        if trainer.current_epoch:
            self._keep(trainer, "saved", trainer.current_epoch - 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the run has saved of the last epoch."""
        self._keep(trainer, "saved", trainer.current_epoch - 1)

    def _keep(self, trainer: Trainer, name: str, saved: int | None = None) -> None:
        stage = Path(trainer.default_root_dir)
        target = stage / STEPS / f"{trainer.current_epoch if saved is None else saved:03}-{name}"
        if saved is None:
            trainer.save_checkpoint(target / LAST)
        target.mkdir(parents=True, exist_ok=True)
        own = [stage / "checkpoints" / LAST] if saved is not None else []
        for file in (*own, stage / "checkpoints" / BEST, stage / "metrics.csv"):
            if file.is_file():
                shutil.copy(file, target / file.name)


class WatchGradients(Callback):
    """Write `gradients.json`, which names the parameters that are trained wrongly.

    `unreached` by any gradient though trainable, `unheld` by any optimiser though trainable, `frozen_reached` by one.
    """

    def __init__(self) -> None:
        self.reached: set[str] = set()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whom this gradient reached."""
        self.reached |= {n for n, p in pl_module.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what was seen."""
        parameters = dict(pl_module.named_parameters())
        trainable = {name for name, p in parameters.items() if p.requires_grad}
        held = {id(p) for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
        report = {
            "unreached": sorted(trainable - self.reached),
            "unheld": sorted(name for name in trainable if id(parameters[name]) not in held),
            "frozen_reached": sorted(self.reached - trainable),
        }
        (Path(trainer.default_root_dir) / GRADIENTS).write_text(json.dumps(report))


def watching() -> dict[str, dict[str, list[dict[str, str]]]]:
    """Return the configuration that adds both callbacks to a run, and let configurations of this process name them."""
    if __name__ not in TRUSTED:
        TRUSTED.append(__name__)
    return {"trainer": {"callbacks": [{"class_path": f"{__name__}.{c.__name__}"} for c in (Snapshots, WatchGradients)]}}


def snapshots(run: Path) -> list[Path]:
    """Return the snapshots of a run, those of its stages in the order they were made."""
    return sorted(run.rglob(f"{STEPS}/*"), key=lambda p: (p / LAST).stat().st_mtime_ns)


def killed_at(run: Path, snapshot: Path, target: Path) -> Path:
    """Lay out `target` as `run` was when `snapshot` was made, ready for `medzoo fit --resume --run_dir target`.

    The configuration no longer asks for snapshots.
    """
    stage = snapshot.parent.parent
    moved = target / stage.relative_to(run)
    (moved / "checkpoints").mkdir(parents=True)
    for file in snapshot.iterdir():
        shutil.copy(file, moved / "checkpoints" / file.name if file.suffix == ".ckpt" else moved / file.name)
    if stage == run:  # the last stage: those before it are finished
        for earlier in sorted(p.parent for p in run.glob("*/results.json")):
            shutil.copytree(earlier, target / earlier.name, ignore=shutil.ignore_patterns(STEPS))
    config = yaml.safe_load((run / "config.yaml").read_text())
    ours = watching()["trainer"]["callbacks"]
    kept = [c for c in config["trainer"]["callbacks"] or [] if c["class_path"] not in [o["class_path"] for o in ours]]
    config["trainer"]["callbacks"] = kept or None
    (target / "config.yaml").write_text(yaml.safe_dump(config))
    return target


def differences(run: Path, other: Path) -> list[str]:
    """Return where two runs differ: weights, optimiser and scheduler states, tables and results, of every stage."""
    found: list[str] = []
    stages = sorted(p.parent.relative_to(run) for p in run.rglob("results.json"))
    if stages != sorted(p.parent.relative_to(other) for p in other.rglob("results.json")):
        return ["not the same stages are finished"]
    for stage in stages:
        for name in (LAST, BEST):
            first, second = (read_checkpoint(r / stage / "checkpoints" / name) for r in (run, other))
            found += [f"{stage / name}: {d}" for k in _TRAINED for d in _different(first.get(k), second.get(k), k)]
        if (run / stage / "metrics.csv").read_bytes() != (other / stage / "metrics.csv").read_bytes():
            found.append(f"{stage / 'metrics.csv'}")
        first, second = (json.loads((r / stage / "results.json").read_text())["metrics"] for r in (run, other))
        found += [f"{stage / 'results.json'}: {d}" for d in _different(first, second, "metrics")]
    return found


def _different(first: object, second: object, where: str) -> list[str]:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same = first.dtype == second.dtype and first.shape == second.shape and _bits(first).equal(_bits(second))
        return [] if same else [where]
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if list(first) != list(second):
            return [f"{where} (keys)"]
        return [d for key in first for d in _different(first[key], second[key], f"{where}.{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        return [d for i, (a, b) in enumerate(zip(first, second, strict=True)) for d in _different(a, b, f"{where}.{i}")]
    return [] if first == second and type(first) is type(second) else [where]


def _bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor: a NaN equals itself, 0 does not equal -0."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
