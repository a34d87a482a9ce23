"""The task of finding abnormal images, and what is abnormal in them: outputs, evaluation, a row and a map an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.io import file_name, replacing
from medzoo.core.metrics.anomaly import PixelAnomalyMetrics, auroc, auroc_interval, average_precision
from medzoo.core.plots import HeatPicture, heat_grid, save
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction, identity
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.values import Row

_SHOWN = 4  # abnormal images with a picture
_SIDE = 512  # pixels of a picture


@dataclass
class AnomalyOutputs:
    """What a model gives for a batch of images of one category.

    Attributes:
        scores: `(B,)` raw, larger is more abnormal.
        maps: `(B, H, W)` likewise, at the network's size.
        threshold: Score above which an image counts as abnormal; NaN where there is none.
    """

    scores: Tensor
    maps: Tensor
    threshold: float = math.nan


class AnomalyEvaluation(Evaluation[AnomalyOutputs]):
    """Ranks images, and pixels where masks are known, category by category.

    Args:
        names: The categories.
        device: Where batches are.
    """

    def __init__(self, names: Sequence[str], device: torch.device | None = None) -> None:
        self.names = list(names)
        self.pixels = {name: PixelAnomalyMetrics().to(device or "cpu") for name in names}
        self.tested: list[Row] = []
        self.pictures: dict[str, list[HeatPicture]] = {name: [] for name in names}

    def update(self, batch: Batch, outputs: AnomalyOutputs) -> None:
        """Add a batch of one category, see `medzoo.core.sample.MaskSample`; masks have their images' size.

        Raises:
            DataError: An image has a score or a map that is not finite.
        """
        name = batch["source"][0]
        scores, maps = outputs.scores.detach(), outputs.maps.detach()
        for values in (scores, maps):
            require_finite(list(values), places(batch))
        for heat, mask in zip(maps, batch.get("mask", ()), strict="mask" in batch):
            self.pixels[name].update(enlarged(heat, mask.shape)[None], mask[None])
        for index, value in enumerate(scores.tolist()):
            label = int(batch["label"][index])
            called = value > outputs.threshold if math.isfinite(outputs.threshold) else None
            self.tested.append(
                {
                    **identity(batch, index, name),
                    "kind": batch["kind"][index],
                    "label": label,
                    "score": value,
                    "threshold": outputs.threshold,
                    "prediction": "" if called is None else int(called),
                    "error": "" if called is None else int(called != bool(label)),
                }
            )
            if label and len(self.pictures[name]) < _SHOWN:
                self.pictures[name].append(heat_picture(batch, index, maps[index]))

    def compute(self) -> dict[str, float]:
        """Return `<category>/<metric>`, and `mean/<metric>` of several.

        `image_auroc` with its 95 % interval from drawing patients (`_low`, `_high`), `image_ap`, `prevalence`,
        `sensitivity` and `specificity` at the threshold (NaN where there is none), and where masks are known
        `pixel_auroc` and `aupro`.
        """
        self.tested = gather_all(self.tested)
        table: dict[str, dict[str, float]] = {}
        for name in self.names:
            own = [row for row in self.tested if row["source"] == name]
            found = _ranked(own)
            pixels = {key: float(value) for key, value in self.pixels[name].compute().items()}
            found |= {key: value for key, value in pixels.items() if not math.isnan(value)}
            judged = [row for row in own if row["prediction"] != ""]  # without a threshold nothing is
            abnormal = [row["prediction"] == 1 for row in judged if row["label"]]
            normal = [row["prediction"] == 1 for row in judged if not row["label"]]
            found["sensitivity"] = float(np.mean(abnormal)) if abnormal else math.nan
            found["specificity"] = 1 - float(np.mean(normal)) if normal else math.nan
            table[name] = found
        if len(table) > 1:
            shared = [key for key in next(iter(table.values())) if all(key in found for found in table.values())]
            keys = [key for key in shared if not key.endswith(("_low", "_high"))]
            table["mean"] = {key: float(np.mean([found[key] for found in table.values()])) for key in keys}
        return {f"{name}/{key}": value for name, found in table.items() for key, value in found.items()}

    def rows(self) -> list[Row]:
        """Return a row an image: label, score, threshold, prediction and whether it is wrong."""
        return self.tested

    def report(self, folder: Path) -> None:
        """Write `samples.csv`, and overlays of some abnormal images of each category."""
        super().report(folder)
        for name, pictures in self.pictures.items():
            if pictures:
                save(heat_grid(pictures, name), folder / "figures" / f"{file_name(name)}.png")


def _ranked(rows: list[Row]) -> dict[str, float]:
    """Return the figures of whole images."""
    scores = torch.tensor([row["score"] for row in rows])
    labels = torch.tensor([float(row["label"]) for row in rows])
    _, patients = np.unique([row["patient"] or row["id"] for row in rows], return_inverse=True)
    low, high = auroc_interval(scores, labels, torch.from_numpy(np.asarray(patients)))
    return {
        "image_auroc": auroc(scores, labels),
        "image_auroc_low": low,
        "image_auroc_high": high,
        "image_ap": average_precision(scores, labels),
        "prevalence": float(labels.double().mean()) if len(labels) else math.nan,
    }


class AnomalyRecord(TypedDict):
    """The score of one image."""

    id: str
    path: str
    category: str
    score: float
    threshold: float
    abnormal: bool | None


def predictions(batch: Batch, outputs: AnomalyOutputs) -> list[Prediction]:
    """Return the score of each image; saved, its map in original pixels as a NumPy file, and an overlay.

    Args:
        batch: A batch of one category.
        outputs: What the model gives for it.

    Raises:
        DataError: An image has a score or a map that is not finite, which lies above no threshold.
    """
    for values in (outputs.scores, outputs.maps):
        require_finite(list(values.detach()), places(batch))
    category, limit = batch["source"][0], outputs.threshold
    found = []
    for index, value in enumerate(outputs.scores.tolist()):
        width, height = batch["original_size"][index].tolist()
        record: AnomalyRecord = {
            "id": batch["id"][index],
            "path": batch["path"][index],
            "category": category,
            "score": value,
            "threshold": limit,
            "abnormal": bool(value > limit) if math.isfinite(limit) else None,
        }
        heat = outputs.maps[index].detach()
        picture = heat_picture(batch, index, heat, known=False)
        found.append(Prediction(record, partial(_save, record, enlarged(heat, (height, width)).cpu(), picture)))
    return found


def _save(record: AnomalyRecord, heat: Tensor, picture: HeatPicture, folder: Path) -> dict[str, object]:
    own = record["id"].removeprefix(f"{record['category']}/")  # with its folders: joined names may meet
    *inner, last = map(file_name, own.split("/"))
    target = folder.joinpath("maps", file_name(record["category"]), *inner, f"{last}.npy")
    with replacing(target) as part, part.open("wb") as file:
        np.save(file, heat.numpy())
    save(heat_grid([picture], f"score {record['score']:.4g}"), target.with_suffix(".png"))
    return {"map": str(target)}


def enlarged(heat: Tensor, size: Sequence[int]) -> Tensor:
    """Bring a score map `(H, W)` to the height and width of its image."""
    return F.interpolate(heat[None, None], (size[0], size[1]), mode="bilinear", align_corners=False)[0, 0]


def heat_picture(batch: Batch, index: int, heat: Tensor, known: bool = True) -> HeatPicture:
    """Return image, score map and mask of a batch's image for a figure, in the shape of the original.

    Args:
        batch: The batch.
        index: Place of the image in it.
        heat: Its score map, `(H, W)`.
        known: Whether to show the mask, where there is one.
    """
    width, height = batch["original_size"][index].tolist()
    zoom = min(1.0, _SIDE / max(width, height))
    size = max(1, round(height * zoom)), max(1, round(width * zoom))
    picture = F.interpolate(batch["image"][index][None].float(), size, mode="bilinear", align_corners=False)[0]
    mask = _reduced(batch["mask"][index], size).cpu().numpy() if known and "mask" in batch else None
    return HeatPicture(picture.detach().cpu().numpy(), enlarged(heat, size).cpu().numpy(), mask)


def _reduced(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a mask to the size of a picture; a cell counts where any of it is marked."""
    return F.adaptive_max_pool2d(mask[None].float(), size)[0] > 0
