"""A test of a model with something in its loop that looks at it, for the verbs of this package."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from medzoo.core.runs.callbacks import StopSignals
from medzoo.core.sample import Batch
from medzoo.core.seeding import derive_seed


def looked_at(
    model: LightningModule,
    datamodule: LightningDataModule,
    looks: Callback,
    folder: Path,
    batches: int | None,
    gradients: bool,
) -> Trainer:
    """Test a model on one device, and return the trainer that has its figures.

    Args:
        model: The model.
        datamodule: Its data.
        looks: What looks at it during the test.
        folder: Of the report.
        batches: Test batches at most; None for all.
        gradients: Whether it needs gradients.

    Raises:
        Interrupted: A signal came; Lightning alone takes no notice of SIGTERM in a test.
    """
    with StopSignals(folder) as signals:
        trainer = Trainer(
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=not gradients,
            limit_test_batches=batches,
            callbacks=[looks, signals],
            default_root_dir=str(folder),
        )
        trainer.test(model, datamodule=datamodule, verbose=False)
    return trainer


def own_generators(seed: int, batch: Batch) -> tuple[torch.Generator, ...]:
    """Return a generator for each image of a batch, that hangs on seed, source and id and not on the batch."""
    names = [f"{source}\0{name}" for source, name in zip(batch["source"], batch["id"], strict=True)]
    return tuple(torch.Generator().manual_seed(derive_seed(seed, crc32(name.encode()))) for name in names)
