"""`--freeze`: parts of a model that keep the weights that they start a training with."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError


class FrozenParts(Callback):
    """Leave parts of a model as they are: no gradients, no change of weights, and no change of running statistics.

    The names go into the checkpoints, so that a training that is continued from one leaves the same parts alone.

    Args:
        names: Of modules, such as `backbone`, or `net.encoder` where several modules have the last name.

    Raises:
        ConfigError: The model has no such part with weights, or nothing is left to train.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._parts: list[nn.Module] = []

    def state_dict(self) -> dict[str, object]:
        """Return the names, where there are any."""
        return {"names": self.names} if self.names else {}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Add the names that the checkpoint's training had."""
        names = state_dict.get("names")
        if isinstance(names, list):
            self.names += [str(name) for name in names if name not in self.names]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the parts, once the networks are built and filled, and say how much is frozen."""
        if not self.names:
            return
        self._parts = [part for name in self.names for part in parts_called(pl_module, name)]
        for part in self._parts:
            part.requires_grad_(requires_grad=False)
        weights = list(pl_module.parameters())
        kept = sum(weight.numel() for weight in weights if not weight.requires_grad)
        if all(not weight.requires_grad for weight in weights):
            raise ConfigError(f"--freeze {','.join(self.names)}: nothing is left to train; freeze less")
        print_once(f"frozen: {', '.join(self.names)} ({kept:,} of {sum(w.numel() for w in weights):,} parameters)")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Keep the parts in evaluation mode, whatever a validation or the method itself left them in."""
        for part in self._parts:
            if part.training:
                part.eval()


def parts_called(model: nn.Module, name: str) -> list[nn.Module]:
    """Return the modules of a dotted name, or those whose dotted name ends with it; none lies within another.

    Raises:
        ConfigError: There is none that has weights.
    """
    found: dict[str, nn.Module] = {}
    for path, part in model.named_modules():
        if (path == name or path.endswith(f".{name}")) and not any(path.startswith(f"{outer}.") for outer in found):
            found[path] = part
    parts = [part for part in found.values() if next(part.parameters(), None) is not None]
    if not parts:
        known = ", ".join(path for path, part in model.named_children() if next(part.parameters(), None) is not None)
        raise ConfigError(f"--freeze {name}: the model has no part of this name with weights; it has {known or 'none'}")
    return parts
