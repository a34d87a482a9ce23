"""The task of outlining a structure in images: outputs, evaluation, a row an image, masks in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.geometry import invert, resample
from medzoo.core.io import file_name
from medzoo.core.io.files import write_image
from medzoo.core.metrics.segmentation import dice, group_interval
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction, identity
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.values import Row


@dataclass
class SegmentationOutputs:
    """What a model gives for a batch.

    Attributes:
        logits: `(B, 1, H, W)` on the grid of the network's images, more than 0 inside, with gradients to them.
    """

    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """`(B, 1, H, W)`, with gradients."""
        return self.logits.sigmoid()


def network_masks(batch: Batch, size: Sequence[int]) -> Tensor:
    """Return the true masks on the grid of the network's images, `(B, 1, H, W)`: the share inside of each pixel.

    Args:
        batch: With `mask`, each in the pixels of its original.
        size: Height and width.
    """
    masks = [
        resample((mask != 0).float(), affine, (int(size[1]), int(size[0])))
        for mask, affine in zip(batch["mask"], batch["affine"], strict=True)
    ]
    return torch.stack(masks)[:, None].clamp(0, 1)


def original_masks(batch: Batch, outputs: SegmentationOutputs) -> list[Tensor]:
    """Return the predicted masks, `(H, W)` bool on the CPU, each in the pixels of its original.

    Raises:
        DataError: A probability is not finite.
    """
    chances = outputs.probabilities.detach().float().cpu()[:, 0]
    require_finite(list(chances), places(batch))
    found = []
    for chance, affine, extent in zip(chances, batch["affine"], batch["original_size"], strict=True):
        back = invert(affine.cpu().double().numpy())
        found.append(resample(chance, back, tuple(int(v) for v in extent)) >= 0.5)
    return found


class SegmentationEvaluation(Evaluation[SegmentationOutputs]):
    """Judges masks in the pixels of the originals, source by source."""

    def __init__(self) -> None:
        self.tested: list[Row] = []

    def update(self, batch: Batch, outputs: SegmentationOutputs) -> None:
        """Add a batch with `mask`, see `medzoo.core.sample.MaskSample`."""
        for index, guess in enumerate(original_masks(batch, outputs)):
            truth = batch["mask"][index].cpu() != 0
            overlap = dice(guess, truth)
            self.tested.append(
                {
                    **identity(batch, index, batch["source"][index] if "source" in batch else "all"),
                    "label": int(truth.sum()),
                    "prediction": int(guess.sum()),
                    "dice": overlap,
                    "error": 1 - overlap,
                }
            )

    def compute(self) -> dict[str, float]:
        """Return `<source>/dice`, the mean over images, with its 95 % interval from drawing patients (`_low`, `_high`).

        An image without structure has 1 where none is predicted, else 0.
        """
        self.tested = gather_all(self.tested)
        found: dict[str, float] = {}
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            rows = self.of(source)
            values = torch.tensor([float(row["dice"]) for row in rows], dtype=torch.float64)
            owners = [str(row["patient"] or row["id"]) for row in rows]
            numbers = torch.tensor(
                [int.from_bytes(blake2b(o.encode(errors="surrogatepass"), digest_size=6).digest()) for o in owners]
            )
            low, high = group_interval(values, numbers)
            figures = {"dice": float(values.mean()), "dice_low": low, "dice_high": high}
            found |= {f"{source}/{name}": value for name, value in figures.items() if np.isfinite(value)}
        return found

    def of(self, source: str) -> list[Row]:
        """Return the rows of a source in the order of ids, whatever that of the loader was."""
        return sorted((row for row in self.tested if row["source"] == source), key=lambda row: str(row["id"]))

    def rows(self) -> list[Row]:
        """Return a row an image: pixels of the structure and of the prediction, Dice, 1 − Dice."""
        return self.tested


def predictions(batch: Batch, outputs: SegmentationOutputs) -> list[Prediction]:
    """Return the number of pixels of each image's mask; saved, the mask as PNG of the original's size."""
    found = []
    for name, path, mask in zip(batch["id"], batch["path"], original_masks(batch, outputs), strict=True):
        record = {"id": name, "path": path, "pixels": int(mask.sum())}
        found.append(Prediction(record, partial(_save, name, mask.numpy())))
    return found


def _save(name: str, mask: NDArray[np.bool_], run: Path) -> dict[str, object]:
    target = run / "masks" / f"{file_name(name)}.png"
    write_image(target, mask.astype(np.float32))
    return {"mask": str(target)}
