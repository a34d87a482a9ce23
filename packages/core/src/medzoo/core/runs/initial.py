"""`--init_from`: a training that starts with the weights of another one, and with nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medzoo.core.backbones.weights import load_weights
from medzoo.core.distributed import print_once
from medzoo.core.method import Method
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.schema import settings_of, weights_of


class InitialWeights(Callback):
    """Fill a model with the weights of a checkpoint before its first step, once its networks are built.

    Tensors are matched by name and shape, after a `Method` has brought them under its own names. Optimiser, schedule,
    epochs and step counts of the checkpoint are left out, and so is a resumed training: it has weights of its own.

    Args:
        path: The checkpoint.

    Raises:
        CheckpointError: Fewer than nine tenths of the model's tensors would be filled.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the model, and say how much of it was filled."""
        if trainer.ckpt_path is not None:
            return
        checkpoint = read_checkpoint(self.path)
        weights: Mapping[str, Tensor] = weights_of(checkpoint)
        if isinstance(pl_module, Method):
            weights = pl_module.initial_weights(weights, settings_of(checkpoint, "hyper_parameters"))
        print_once(str(load_weights(pl_module, weights, f"--init_from {self.path}")))
