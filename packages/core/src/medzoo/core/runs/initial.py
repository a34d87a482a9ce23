"""`--init_from`: a training that starts with the weights of another one, and with nothing else of it."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from medzoo.core.errors import CheckpointError
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.folder import tell

_ENOUGH = 0.9


class InitialWeights(Callback):
    """Fill a model with the weights of a checkpoint before its first step, once its networks are built.

    Tensors are matched by name and shape. Optimiser, schedule, epochs and step counts of the checkpoint are left out,
    and so is a resumed training: it has weights of its own.

    Args:
        path: The checkpoint.

    Raises:
        CheckpointError: Less than nine tenths of the model's values would be filled.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the model, and say how much of it was filled."""
        if trainer.ckpt_path is not None:
            return
        saved = read_checkpoint(self.path)["state_dict"]
        own = pl_module.state_dict()
        fits = {name: value for name, value in saved.items() if name in own and value.shape == own[name].shape}
        missing = [name for name in own if name not in fits]
        strays = [name for name in saved if name not in fits]
        filled = sum(value.numel() for value in fits.values())
        share = filled / max(sum(value.numel() for value in own.values()), 1)
        text = f"{len(fits)} of {len(own)} tensors ({share:.0%} of the values) match"
        left = f"; without a match: {', '.join(missing[:3] or strays[:3])}" if missing or strays else ""
        if share < _ENOUGH:
            raise CheckpointError(f"--init_from {self.path}: only {text}{left}; give a checkpoint of the same settings")
        pl_module.load_state_dict({**own, **fits})
        tell(f"--init_from {self.path}: {text}{left}")
