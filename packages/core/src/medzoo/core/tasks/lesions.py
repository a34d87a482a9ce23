"""The task of finding lesions in volumes: outputs, evaluation, a row a volume, maps and masks in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.geometry.boxes import box_of
from medzoo.core.io import file_name, write_csv
from medzoo.core.io.nifti_out import write_nifti
from medzoo.core.metrics.anomaly import PixelAnomalyMetrics
from medzoo.core.metrics.segmentation import SegmentationMetrics, dice
from medzoo.core.plots import mosaic, save
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction, identity
from medzoo.core.values import Row

LESION_COLUMNS = ("id", "lesion", "volume_ml", "x_mm", "y_mm", "z_mm", "x", "y", "z", "mean_score", "max_score")
_SHOWN = 5  # volumes with a mosaic

Volume = NDArray[np.float32]


@dataclass
class LesionOutputs:
    """What a model gives for the one volume of a batch, on its original grid.

    Attributes:
        score: `(D, H, W)` float32, larger is more abnormal, with gradients to the image.
        mask: `(D, H, W)` bool.
        threshold: Score that makes a lesion.
    """

    score: Tensor
    mask: Tensor
    threshold: float


class LesionEvaluation(Evaluation[LesionOutputs]):
    """Compares masks and score maps with known lesions, all together and kind by kind.

    Args:
        device: Where metrics of voxels are kept.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.scores: dict[str, SegmentationMetrics] = {}
        self.pixels = PixelAnomalyMetrics(limit=0.05).to(self.device)
        self.tested: list[Row] = []
        self.lesions: list[Row] = []
        self.pictures: list[tuple[str, tuple[Volume, Volume, NDArray[np.bool_], NDArray[np.bool_] | None]]] = []

    def update(self, batch: Batch, outputs: LesionOutputs) -> None:
        """Add the one volume of a batch; one without `mask` gets pictures and a table of lesions only."""
        name, kind = batch["id"][0], batch["kind"][0]
        score, mask = outputs.score.detach(), outputs.mask
        found = lesions_of(batch, outputs)
        self.lesions += found
        truth = batch["mask"][0].cpu() != 0 if "mask" in batch else None
        if truth is not None:
            patient = int.from_bytes(
                blake2b(batch["patient"][0].encode(errors="surrogatepass"), digest_size=3).digest()
            )
            for key in dict.fromkeys(("all", kind or "all")):
                self.scores.setdefault(key, SegmentationMetrics().to(self.device)).update(mask, truth, patient)
            value = dice(mask, truth)
            volume = sum(float(row["volume_ml"]) for row in found)
            row = {**identity(batch, 0, batch["source"][0]), "kind": kind, "dice": value}
            self.tested.append({**row, "prediction": round(volume, 4), "error": 1 - value})
            organ = batch["original_organ" if "original_organ" in batch else "organ"][0].cpu()
            self.pixels.update(*(part.to(self.device) for part in (score[None], truth[None], organ)))
        if len(self.pictures) < _SHOWN:
            known = None if truth is None else truth.numpy()
            self.pictures.append((name, (_shown(batch), score.numpy(), mask.numpy(), known)))

    def compute(self) -> dict[str, Tensor]:
        """Return the figures of all volumes (`all/`), of each kind of lesion, and of voxels (`voxels/`)."""
        self.tested, self.lesions = gather_all(self.tested), gather_all(self.lesions)
        figures: dict[str, Tensor] = {}
        for name in sorted({name for names in gather_all([list(self.scores)]) for name in names}):
            # A process that saw no volume of a kind takes part with none.
            found = self.scores.setdefault(name, SegmentationMetrics().to(self.device)).compute()
            chosen = found if name == "all" else {key: found[key] for key in ("dice", "lesion_sensitivity")}
            figures |= {f"{name}/{key}": value for key, value in chosen.items()}
        if self.tested:
            pixels = self.pixels.compute()
            figures |= {"voxels/auroc_in_organ": pixels["pixel_auroc"], "voxels/aupro_5": pixels["aupro"]}
        return figures

    def rows(self) -> list[Row]:
        """Return a row a volume with known lesions: kind, Dice, predicted millilitres, 1 − Dice."""
        return self.tested

    def report(self, folder: Path) -> None:
        """Write `samples.csv`, `lesions.csv` and mosaics."""
        super().report(folder)
        write_csv(folder / "lesions.csv", self.lesions, LESION_COLUMNS)
        for name, (hu, score, mask, truth) in self.pictures:
            save(mosaic(hu, score, mask, truth, title=name), folder / "figures" / f"{file_name(name)}.png")


def lesions_of(batch: Batch, outputs: LesionOutputs) -> list[Row]:
    """Return one row a connected lesion of the one volume of a batch, see `lesion_table`."""
    spacing = batch["spacing"][0].tolist()
    world, stored = batch["world"][0].cpu().numpy(), batch["stored"][0].cpu().numpy()
    score = outputs.score.detach().numpy()
    return lesion_table(batch["id"][0], outputs.mask.numpy(), score, spacing, world, stored)


class LesionRecord(TypedDict):
    """The lesions of one volume."""

    id: str
    path: str
    threshold: float
    volume_ml: float
    lesions: list[Row]


def predictions(batch: Batch, outputs: LesionOutputs) -> list[Prediction]:
    """Return the lesions of the one volume of a batch; saved, score map, mask, table and mosaic."""
    rows = lesions_of(batch, outputs)
    record: LesionRecord = {
        "id": batch["id"][0],
        "path": batch["path"][0],
        "threshold": outputs.threshold,
        "volume_ml": sum(float(row["volume_ml"]) for row in rows),
        "lesions": rows,
    }
    score, mask = outputs.score.detach().numpy(), outputs.mask.numpy()
    return [Prediction(record, partial(_save, record, score, mask, _shown(batch), batch["spacing"][0].tolist()))]


def _save(
    record: LesionRecord,
    score: NDArray[np.float32],
    mask: NDArray[np.bool_],
    hu: NDArray[np.float32],
    spacing: Sequence[float],
    run: Path,
) -> dict[str, object]:
    folder = run / "volumes" / file_name(record["id"])
    source = record["path"] or None  # a phantom has none
    write_nifti(folder / "score.nii.gz", score, source, spacing)
    write_nifti(folder / "mask.nii.gz", mask, source, spacing)
    write_csv(folder / "lesions.csv", record["lesions"], LESION_COLUMNS)
    save(mosaic(hu, score, mask, title=record["id"]), folder / "mosaic.png")
    return {"folder": str(folder)}


def _shown(batch: Batch) -> NDArray[np.float32]:
    """Return the one volume of a batch on its original grid."""
    volume: NDArray[np.float32] = batch["original" if "original" in batch else "image"][0, 0].cpu().numpy()
    return volume


def lesion_table(
    name: str,
    mask: NDArray[np.bool_],
    score: NDArray[np.float32],
    spacing: Sequence[float],
    world: NDArray[np.generic],
    stored: NDArray[np.generic],
) -> list[Row]:
    """Return one row a connected lesion, the largest first.

    Args:
        name: Of the volume.
        mask: `(D, H, W)`.
        score: `(D, H, W)`, larger is more abnormal.
        spacing: Millimetres per voxel along x, y, z.
        world: `(4, 4)` from voxel `(x, y, z)` to the scanner's millimetres.
        stored: `(4, 4)` from voxel `(x, y, z)` to that of the file, in which the table counts.
    """
    if not mask.any():
        return []
    box = box_of(mask)
    corner, mask, score = np.array([part.start for part in box]), mask[box], score[box]
    labels, count = ndimage.label(mask, np.ones((3, 3, 3), dtype=bool))
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centres = (np.array(ndimage.center_of_mass(mask, labels, numbers)).reshape(count, 3) + corner)[:, ::-1]  # x, y, z
    means, tops = ndimage.mean(score, labels, numbers), ndimage.maximum(score, labels, numbers)
    places, centres = (centres @ frame[:3, :3].T + frame[:3, 3] for frame in (world, stored))
    litre = float(np.prod(np.asarray(spacing, dtype=float))) / 1000
    rows: list[Row] = []
    for rank, i in enumerate(np.argsort(-sizes, kind="stable")):
        values = (sizes[i] * litre, *places[i], *centres[i], means[i], tops[i])
        figures = [round(float(v), 4) for v in values]
        rows.append(dict(zip(LESION_COLUMNS, (name, rank + 1, *figures), strict=True)))
    return rows
