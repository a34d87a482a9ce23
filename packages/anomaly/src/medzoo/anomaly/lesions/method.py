"""What methods share that segment lesions in the organ of a volume."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from medzoo.anomaly.lesions.grid import on_grid
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Prediction
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.tasks.lesions import LesionEvaluation, LesionOutputs, predictions


class LesionMethod(Method):
    """Base of methods that learn from patches of volumes and segment whole ones, one at a time.

    A subclass defines `segment`, `level`, its training and its optimiser.

    Args:
        patch: Size (z, y, x) in voxels of training patches and of the sliding window.
        levels: Resolutions of the U-Net, each half of the one before.
        batch: Volumes a batch.
        overlap: Share of the window that neighbouring windows share.
        windows: Windows a step of inference.

    Raises:
        ConfigError: Patches do not fit the U-Net's levels.
    """

    keeps_large_blocks: ClassVar[bool] = False

    def __init__(self, patch: Sequence[int], levels: int, batch: int, overlap: float, windows: int) -> None:
        super().__init__()
        cell = 2 ** max(0, levels - 1)
        if len(patch) != 3 or any(n % cell or n < 2 * cell for n in patch):
            raise ConfigError(
                f"--model.patch: expected three multiples of {cell}, at least {2 * cell}, for {levels} resolutions; "
                f"got {list(patch)}"
            )
        self.patch, self.batch = (patch[0], patch[1], patch[2]), batch
        self.overlap, self.windows = overlap, windows

    @property
    @abstractmethod
    def seed_level(self) -> float:
        """Score from which a voxel starts a lesion."""

    @abstractmethod
    def segment(self, volume: Tensor, organ: Tensor, spacing: list[float]) -> tuple[Tensor, Tensor]:
        """Return score map and mask of a whole volume.

        Args:
            volume: `(D, H, W)` in main memory.
            organ: `(D, H, W)` bool, not empty.
            spacing: Millimetres per voxel along z, y, x.

        Returns:
            `(D, H, W)` float32, 0 outside of the organ; and `(D, H, W)` bool.
        """

    def wants(self) -> Wants:
        """Return the size of training patches, and volumes a batch."""
        return Wants(self.patch, self.batch)

    def drawn(self) -> torch.Generator:
        """Return a generator seeded by torch's, which every step seeds anew: a resumed run draws the same lesions."""
        return torch.Generator(self.device).manual_seed(int(torch.randint(2**62, ())))

    def outputs(self, batch: Batch) -> LesionOutputs:
        """Segment the one volume of a batch, in main memory, and return score and mask on its original grid.

        Raises:
            DataError: The organ is empty, or a score is not finite.
        """
        volume, organ, spacing = first_volume(batch)
        if not organ.any():
            raise DataError(batch["path"][0] or batch["id"][0], "has an empty organ mask", "give a mask of the organ")
        score, mask = self.segment(volume, organ, spacing)
        require_finite([score], places(batch))
        score, mask = on_grid(score, mask, batch["original_size"][0].tolist()[::-1])
        return LesionOutputs(score, mask, self.seed_level)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> LesionEvaluation | None:
        """Return an evaluation on known lesions; a validation has none."""
        return LesionEvaluation(self.device) if stage == "test" else None

    def predictions(self, batch: Batch, outputs: LesionOutputs) -> list[Prediction]:
        """Return the lesions of the one volume of a batch."""
        return predictions(batch, outputs)


def first_volume(batch: Batch) -> tuple[Tensor, Tensor, list[float]]:
    """Return the first volume of a batch and its organ, `(D, H, W)` in main memory, and mm per voxel along z, y, x."""
    spacing = (batch["spacing"][0].cpu() / batch["affine"][0].diagonal().cpu()).tolist()[::-1]
    return batch["image"][0, 0].cpu(), batch["organ"][0, 0].cpu(), spacing


def patch_steps(spacing: Tensor, per_volume: int) -> list[list[float]]:
    """Return mm per voxel along z, y, x of every patch.

    Args:
        spacing: `(B, 3)` of volumes, x first.
        per_volume: Patches of each.
    """
    return [s.tolist()[::-1] for s in spacing.repeat_interleave(per_volume, 0)]
