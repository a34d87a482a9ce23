"""What the image methods share: a reference from a few normal images of a category, and scores against it."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.anomaly.images.backbone import Stages
from medzoo.anomaly.images.scores import RULES, Rule, image_scores
from medzoo.anomaly.lesions.draws import gaussian
from medzoo.anomaly.outputs import places, require_finite, save_png
from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError
from medzoo.core.io import figure_text, file_name, write_csv
from medzoo.core.method import Method
from medzoo.core.metrics.anomaly import ImageAnomalyMetrics, PixelAnomalyMetrics
from medzoo.core.metrics.segmentation import quantile_threshold
from medzoo.core.runs.schema import check_field

Reference = TypeVar("Reference")
_FOLDS = 8  # of the supports, to score each by the others
_SHOWN = 4  # abnormal images with a picture
_SIDE = 512  # pixels of a picture


class FewShot(Method, Generic[Reference]):
    """Base of methods that compare an image with normal ones of its category.

    After the fit the support of every tested category is kept in the checkpoint, with a threshold from scoring each
    support image by the others. A category that the checkpoint does not know takes both from the data at hand, without
    training. Scores are raw: larger is more abnormal, and nothing is normalised or clamped before ranking.

    A subclass that trains on other categories sets `learns` and has its own `training_step`, `max_epochs` and
    `configure_optimizers`; otherwise a fit is one look at the supports.

    Args:
        size: Height and width of the network's images.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal; a few supports cannot promise less
            than one in their number.
        score: How an image's score is made from its map: max, p95 or mean.
    """

    learns = False
    """Whether the method trains on other categories."""

    def __init__(self, size: list[int], batch: int, smooth: float, false_alarms: float, score: Rule = "max") -> None:
        super().__init__()
        if score not in RULES:
            raise ConfigError(f"--model.score: expected one of {', '.join(RULES)}, got {score}")
        if len(size) != 2 or min(size) < 16:
            raise ConfigError(f"--model.size: expected [height, width] of at least 16, got {size}")
        self.size, self.batch, self.smooth, self.false_alarms = (size[0], size[1]), batch, smooth, false_alarms
        self.rule = score
        self.supports: dict[str, Tensor] = {}
        self.thresholds: dict[str, float] = {}
        self.current: tuple[str, Reference] | None = None
        self.image_metrics: dict[str, ImageAnomalyMetrics] = {}
        self.pixel_metrics: dict[str, PixelAnomalyMetrics] = {}
        self.names: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.pictures: list[tuple[str, Tensor, Tensor, Tensor | None]] = []

    @abstractmethod
    def reference(self, supports: Tensor) -> Reference:
        """Return what is kept of `(K, 3, H, W)` normal images."""

    @abstractmethod
    def coarse_scores(self, reference: Reference, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return `(B, h, w)` scores of positions, and `(B,)` of images where "max" is not the largest of the map."""

    @property
    def input_size(self) -> tuple[int, ...]:
        """Height and width of the network's images."""
        return self.size

    @property
    def batch_size(self) -> int:
        """Images a batch."""
        return self.batch

    @property
    def max_epochs(self) -> int:
        """One where nothing is trained: there is nothing to repeat."""
        return 1

    def setup(self, stage: str) -> None:
        """Refuse a fit on several devices where there is nothing to share; read the weights that a fit starts from."""
        if stage == "fit" and not self.learns and self.trainer.world_size > 1:
            raise ConfigError("--trainer.devices: this model trains nothing; fit it on 1 device")
        if stage == "fit" and self.trainer.ckpt_path is None:
            for part in self.modules():
                if isinstance(part, Stages):
                    part.start()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Do nothing: the reference is made from the supports at the end of the epoch."""
        return None

    def configure_optimizers(self) -> Any:
        """There is nothing to optimise; Lightning's warnings that this may be a slip are wrong here."""
        warnings.filterwarnings("ignore", message=".*returned `None`.*")

    def score(self, reference: Reference, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return image scores `(B,)` and score maps `(B, H, W)` of `(B, 3, H, W)`."""
        coarse, whole = self.coarse_scores(reference, images)
        fine = F.interpolate(coarse[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        maps = gaussian(fine, [0.0, self.smooth, self.smooth])
        return (whole if whole is not None and self.rule == "max" else image_scores(maps, self.rule)), maps

    @torch.no_grad()
    def threshold_of(self, supports: Tensor, names: Sequence[str] | None = None) -> float:
        """Return the threshold from scoring each support image by the others; NaN with fewer than two.

        Args:
            supports: `(K, 3, H, W)` normal images.
            names: Their files or names, for a message; their numbers from 0 where not given.

        Raises:
            DataError: A score is not finite.
        """
        count = len(supports)
        if count < 2:
            return math.nan
        parts = torch.arange(count).tensor_split(min(count, _FOLDS))
        scores: list[Tensor] = []
        for part in parts:
            kept = torch.ones(count, dtype=torch.bool)
            kept[part] = False
            reference = self.reference(supports[kept])
            scores += [self.score(reference, batch)[0] for batch in supports[part].split(16)]
        found = torch.cat(scores)
        require_finite(list(found), names or [f"support {i}" for i in range(count)])
        return quantile_threshold(found, self.false_alarms)

    def on_train_epoch_end(self) -> None:
        """After the last epoch keep the supports and their thresholds."""
        if self.trainer.current_epoch == (self.trainer.max_epochs or 0) - 1:
            for buffer in self.buffers():  # batch normalisation has seen other images on every process
                buffer.copy_(self.trainer.strategy.broadcast(buffer))
            self.eval()
            self._adopt(refresh=True)
            self.train()

    @torch.no_grad()
    def _adopt(self, refresh: bool = False) -> None:
        """Take the supports of categories from the data; known categories keep theirs unless `refresh`."""
        offered = getattr(self.trainer.datamodule, "supports", None)  # type: ignore[attr-defined]
        if offered is None:
            raise ConfigError("--data: this model needs categories of images with normal ones to compare with")
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        tested = [category.name for category in data.tested]
        if refresh or any(name not in self.supports for name in tested):
            named = {c.name: [item.path or item.id for item in data.support_items(c)] for c in data.tested}
            for name, images in offered().items():
                if refresh or name not in self.supports:
                    self.supports[name] = images
                    self.thresholds[name] = self.threshold_of(images.to(self.device).float(), named[name])
        self.names = tested

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep supports and thresholds."""
        checkpoint["supports"], checkpoint["thresholds"] = dict(self.supports), dict(self.thresholds)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take supports and thresholds over.

        Raises:
            CheckpointError: They are not what was saved.
        """
        supports, thresholds = checkpoint.get("supports"), checkpoint.get("thresholds")
        images = isinstance(supports, dict) and all(map(_is_images, supports.values()))
        check_field("supports", images, "images by name")
        numbers = isinstance(thresholds, dict) and all(isinstance(value, float) for value in thresholds.values())
        whole = numbers and set(checkpoint["thresholds"]) == set(checkpoint["supports"])
        check_field("thresholds", whole, "one of each support")
        self.supports, self.thresholds = dict(checkpoint["supports"]), dict(checkpoint["thresholds"])

    def _reference(self, name: str) -> Reference:
        """Return the reference of a category; one is held at a time, as tests go category by category."""
        if self.current is None or self.current[0] != name:
            self.current = None
            images = self.supports[name].to(self.device).float()
            if images.shape[-2:] != self.size:
                raise ConfigError(
                    f"--data.size: the supports are {tuple(images.shape[-2:])}, the model takes {self.size}"
                )
            self.current = name, self.reference(images)
        return self.current[1]

    def _scored(self, name: str, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the scores of a batch and its maps, all of them finite."""
        scores, maps = self.score(self._reference(name), batch["image"])
        require_finite([*torch.cat([scores[:, None], maps.flatten(1)], dim=1)], places(batch))
        return scores, maps

    def on_test_epoch_start(self) -> None:
        """Forget an earlier test and see that every category has its support."""
        self.current, self.rows, self.pictures = None, [], []
        self.image_metrics, self.pixel_metrics = {}, {}
        self._adopt()
        for name in self.names:
            self.image_metrics[name] = ImageAnomalyMetrics().to(self.device)
            self.pixel_metrics[name] = PixelAnomalyMetrics().to(self.device)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score images of one category."""
        name = self.names[int(batch["domain"][0])]
        scores, maps = self._scored(name, batch)
        self.image_metrics[name].update(scores, batch["label"], batch["group"])
        if "mask" in batch:
            for heat, mask in zip(maps, batch["mask"], strict=True):  # masks keep the size of their images
                self.pixel_metrics[name].update(_enlarged(heat, mask.shape)[None], mask[None])
        for index, value in enumerate(scores.tolist()):
            label = int(batch["label"][index])
            self.rows.append(
                {
                    "id": batch["id"][index],
                    "category": name,
                    "kind": batch["kind"][index],
                    "label": label,
                    "score": value,
                }
            )
            if label and sum(p[0] == name for p in self.pictures) < _SHOWN:
                self.pictures.append((name, *_shown(batch, index, maps[index])))

    def on_test_epoch_end(self) -> None:
        """Log each category, and the mean over categories."""
        self.rows = gather_all(self.rows)
        table: dict[str, dict[str, float]] = {}
        for name in self.names:
            row = {key: float(value) for key, value in self.image_metrics[name].compute().items()}
            row |= {k: float(v) for k, v in self.pixel_metrics[name].compute().items() if not math.isnan(float(v))}
            called = [(r["label"] == 1, r["score"] > self.thresholds[name]) for r in self.rows if r["category"] == name]
            abnormal = [over for label, over in called if label]
            normal = [over for label, over in called if not label]
            row["sensitivity"] = float(np.mean(abnormal)) if abnormal else math.nan
            row["specificity"] = 1 - float(np.mean(normal)) if normal else math.nan
            table[name] = row
        if len(table) > 1:
            shared = [key for key in next(iter(table.values())) if all(key in row for row in table.values())]
            keys = [key for key in shared if not key.endswith(("_low", "_high"))]
            table["mean"] = {key: float(np.mean([row[key] for row in table.values()])) for key in keys}
        self.log_dict({f"{name}/{key}": value for name, row in table.items() for key, value in row.items()})

    def report(self, folder: Path) -> None:
        """Write the score of every image, and overlays of some abnormal ones."""
        write_csv(folder / "scores.csv", self.rows)
        for name in dict.fromkeys(picture[0] for picture in self.pictures):
            shown = [picture for picture in self.pictures if picture[0] == name]
            save_png(overlays(shown, name), folder / "figures" / f"{file_name(name)}.png")

    def on_predict_epoch_start(self) -> None:
        """See that every category has its support."""
        self.current = None
        self._adopt()

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[dict[str, Any]]:
        """Write score maps in original pixels as NumPy files and overlays, and return the scores."""
        from medzoo.core.io import replacing

        name = self.names[int(batch["domain"][0])]
        scores, maps = self._scored(name, batch)
        limit = self.thresholds[name]
        folder = Path(self.trainer.default_root_dir) / "maps" / file_name(name)
        records = []
        for index, value in enumerate(scores.tolist()):
            width, height = batch["original_size"][index].tolist()
            whole = _enlarged(maps[index], (height, width))
            own = batch["id"][index].removeprefix(f"{name}/")  # with its folders: joined names may meet
            *inner, last = map(file_name, own.split("/"))
            target = folder.joinpath(*inner, f"{last}.npy")
            with replacing(target) as part, part.open("wb") as file:
                np.save(file, whole.cpu().numpy())
            save_png(
                overlays([(name, *_shown(batch, index, maps[index], known=False))], f"score {value:.4g}"),
                target.with_suffix(".png"),
            )
            records.append(
                {
                    "id": batch["id"][index],
                    "path": batch["path"][index],
                    "category": name,
                    "score": value,
                    "threshold": limit,
                    "abnormal": bool(value > limit) if math.isfinite(limit) else None,
                    "map": str(target),
                }
            )
        return records


def _is_images(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[1] == 3 and bool(torch.isfinite(value).all())


def _enlarged(heat: Tensor, size: Sequence[int]) -> Tensor:
    """Bring a score map `(H, W)` to the height and width of its image."""
    return F.interpolate(heat[None, None], (size[0], size[1]), mode="bilinear", align_corners=False)[0, 0]


def _shown(batch: dict[str, Any], index: int, heat: Tensor, known: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return picture `(3, h, w)`, score map and mask `(h, w)` of an image of a batch, in the shape of the original."""
    width, height = batch["original_size"][index].tolist()
    zoom = min(1.0, _SIDE / max(width, height))
    size = max(1, round(height * zoom)), max(1, round(width * zoom))
    picture = F.interpolate(batch["image"][index][None].float(), size, mode="bilinear", align_corners=False)[0]
    mask = _reduced(batch["mask"][index], size).cpu() if known and "mask" in batch else None
    return picture.cpu(), _enlarged(heat, size).cpu(), mask


def _reduced(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a mask to the size of a picture; a cell counts where any of it is marked."""
    return F.adaptive_max_pool2d(mask[None].float(), size)[0] > 0


def overlays(pictures: list[tuple[str, Tensor, Tensor, Tensor | None]], title: str) -> Any:
    """Draw images above and their score maps below, the known defect outlined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(pictures), 5), layout="constrained")
    axes = figure.subplots(2, len(pictures), squeeze=False)
    low = min(float(picture[2].min()) for picture in pictures)
    high = max(float(picture[2].max()) for picture in pictures)
    for column, (_, image, heat, mask) in enumerate(pictures):
        axes[0, column].imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
        axes[1, column].imshow(image.mean(0).numpy(), cmap="gray", vmin=0, vmax=1)
        axes[1, column].imshow(heat.numpy(), cmap="inferno", vmin=low, vmax=max(high, low + 1e-9), alpha=0.6)
        if mask is not None and mask.any():
            axes[1, column].contour(mask.numpy(), [0.5], colors="lime", linewidths=0.8)
        for row in range(2):
            axes[row, column].set_axis_off()
    figure.suptitle(figure_text(title), fontsize=9)
    return figure
