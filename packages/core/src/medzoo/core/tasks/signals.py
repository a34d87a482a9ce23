"""The task of finding abnormal records of signals, and what is abnormal in them, lead by lead and point by point."""

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
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.io import file_name, replacing, write_csv
from medzoo.core.metrics.anomaly import auroc, auroc_interval, average_precision
from medzoo.core.metrics.signals import PointAnomalyMetrics
from medzoo.core.plots.ecg import ecg_paper
from medzoo.core.plots.figures import save
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction, identity
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.values import Row

_SHOWN = 3  # abnormal records with a picture, of each source
_LONGEST = 30.0  # seconds of a picture

KIND_COLUMNS = ("source", "kind", "records", "auroc")


@dataclass
class SignalOutputs:
    """What a model gives for a batch of signals.

    Attributes:
        scores: `(B,)` raw, larger is more abnormal.
        maps: `(B, L, T)` likewise, of each lead and sample that the network sees.
        threshold: Score above which a record counts as abnormal; NaN where there is none.
        point_threshold: Value of a map above which a point does; NaN where there is none.
    """

    scores: Tensor
    maps: Tensor
    threshold: float = math.nan
    point_threshold: float = math.nan


class Picture(TypedDict):
    """A record for a figure, at the rate of the network."""

    signal: NDArray[np.float32]
    rate: float
    leads: list[str]
    score: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    title: str


class SignalEvaluation(Evaluation[SignalOutputs]):
    """Ranks records, and points where masks are known, source by source.

    Args:
        device: Where batches are.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.points: dict[str, PointAnomalyMetrics] = {}
        self.tested: list[Row] = []
        self.pictures: dict[str, list[Picture]] = {}

    def update(self, batch: Batch, outputs: SignalOutputs) -> None:
        """Add a batch of one source, see `medzoo.core.sample.SignalSample`.

        Raises:
            DataError: A record has a score that is not finite, or a point of it.
        """
        name = batch["source"][0]
        scores, maps = outputs.scores.detach(), outputs.maps.detach()
        for values in (scores, maps):
            require_finite(list(values), places(batch))
        for heat, mask in zip(maps, batch.get("mask", ()), strict="mask" in batch):
            metric = self.points.setdefault(name, PointAnomalyMetrics().to(self.device))
            metric.update(in_own_rate(heat, mask.shape[-1]), mask.to(heat.device))
        for index, value in enumerate(scores.tolist()):
            label = int(batch["label"][index])
            called = value > outputs.threshold if math.isfinite(outputs.threshold) else None
            self.tested.append(
                {
                    **identity(batch, index, name),
                    "start": float(batch["start"][index]),
                    "kind": batch["kind"][index],
                    "label": label,
                    "score": value,
                    "threshold": outputs.threshold,
                    "prediction": "" if called is None else int(called),
                    "error": "" if called is None else int(called != bool(label)),
                }
            )
            shown = self.pictures.setdefault(name, [])
            if label and len(shown) < _SHOWN:
                shown.append(_picture(batch, index, maps[index], known=True))

    def compute(self) -> dict[str, float]:
        """Return `<source>/<metric>`.

        `record_auroc` with its 95 % interval from drawing patients (`_low`, `_high`), `record_ap`, `prevalence`,
        `sensitivity` and `specificity` at the threshold, and where masks are known `point_auroc`, `point_ap` and
        `point_auroc_macro`, see `PointAnomalyMetrics`.
        """
        self.tested = gather_all(self.tested)
        known = sorted({name for names in gather_all([list(self.points)]) for name in names})
        figures: dict[str, float] = {}
        for name in dict.fromkeys(str(row["source"]) for row in self.tested):
            figures |= {f"{name}/{key}": value for key, value in _ranked(self._of(name)).items()}
        for name in known:
            # A process that saw no record of a source takes part with none.
            found = self.points.setdefault(name, PointAnomalyMetrics().to(self.device)).compute()
            figures |= {f"{name}/{key}": float(value) for key, value in found.items()}
        return figures

    def _of(self, name: str) -> list[Row]:
        return [row for row in self.tested if row["source"] == name]

    def rows(self) -> list[Row]:
        """Return a row a record: label, score, threshold, prediction and whether it is wrong."""
        return self.tested

    def kinds(self) -> list[Row]:
        """Return of each kind of anomaly its AUROC against all normal records of its source."""
        found: list[Row] = []
        for name in dict.fromkeys(str(row["source"]) for row in self.tested):
            own = self._of(name)
            for kind in sorted({str(row["kind"]) for row in own if row["label"]}):
                chosen = [row for row in own if not row["label"] or row["kind"] == kind]
                values = auroc(*_scores(chosen))
                count = sum(row["kind"] == kind and bool(row["label"]) for row in own)
                found.append(dict(zip(KIND_COLUMNS, (name, kind, count, values), strict=True)))
        return found

    def report(self, folder: Path) -> None:
        """Write `samples.csv`, `kinds.csv`, and some abnormal records of each source on paper."""
        super().report(folder)
        write_csv(folder / "kinds.csv", self.kinds(), KIND_COLUMNS)
        for name, pictures in self.pictures.items():
            for number, picture in enumerate(pictures):
                save(ecg_paper(**picture), folder / "figures" / f"{file_name(name)}_{number}.png")


def _scores(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    return torch.tensor([row["score"] for row in rows]), torch.tensor([float(row["label"]) for row in rows])


def _ranked(rows: list[Row]) -> dict[str, float]:
    """Return the figures of whole records."""
    scores, labels = _scores(rows)
    _, patients = np.unique([row["patient"] or row["id"] for row in rows], return_inverse=True)
    low, high = auroc_interval(scores, labels, torch.from_numpy(np.asarray(patients)))
    judged = [row for row in rows if row["prediction"] != ""]  # without a threshold nothing is
    abnormal, normal = (
        [row["prediction"] == 1 for row in judged if bool(row["label"]) is one] for one in (True, False)
    )
    return {
        "record_auroc": auroc(scores, labels),
        "record_auroc_low": low,
        "record_auroc_high": high,
        "record_ap": average_precision(scores, labels),
        "prevalence": float(labels.double().mean()),
        "sensitivity": float(np.mean(abnormal)) if abnormal else math.nan,
        "specificity": 1 - float(np.mean(normal)) if normal else math.nan,
    }


class Span(TypedDict):
    """A part of a record that counts as abnormal."""

    start: float
    """Seconds from the beginning of the record."""
    end: float
    leads: list[str]


class SignalRecord(TypedDict):
    """The score of one stretch of a record; `rate` is the record's own."""

    id: str
    path: str
    source: str
    start: float
    rate: float
    beats: int
    score: float
    threshold: float
    abnormal: bool | None
    spans: list[Span]
    notes: list[str]


def predictions(batch: Batch, outputs: SignalOutputs) -> list[Prediction]:
    """Return the score of each record; saved, its points' scores at the record's own rate as CSV, and a picture.

    Args:
        batch: A batch of one source.
        outputs: What the model gives for it.

    Raises:
        DataError: A record has a score that is not finite, or a point of it: they lie above no threshold.
    """
    for values in (outputs.scores, outputs.maps):
        require_finite(list(values.detach()), places(batch))
    limit = outputs.threshold
    found = []
    for index, value in enumerate(outputs.scores.tolist()):
        record: SignalRecord = {
            "id": batch["id"][index],
            "path": batch["path"][index],
            "source": batch["source"][index],
            "start": float(batch["start"][index]),
            "rate": float(batch["original_rate"][index]),
            "beats": len(batch["beats"][index]),
            "score": value,
            "threshold": limit,
            "abnormal": bool(value > limit) if math.isfinite(limit) else None,
            "spans": spans(
                outputs.maps[index] > outputs.point_threshold,
                batch["leads"][index],
                float(batch["start"][index]),
                float(batch["rate"][index]),
            ),
            "notes": batch["notes"][index] if "notes" in batch else [],
        }
        heat = outputs.maps[index].detach()
        own = in_own_rate(heat, int(batch["original_length"][index])).cpu().numpy()
        picture = _picture(batch, index, heat, known=False)
        found.append(Prediction(record, partial(_save, record, own, float(batch["original_rate"][index]), picture)))
    return found


def spans(marked: Tensor, leads: Sequence[str], start: float, rate: float, gap: float = 0.1) -> list[Span]:
    """Return the parts of a record in which a lead is marked, those less than `gap` seconds apart as one.

    Args:
        marked: `(L, T)` bool.
        leads: Names of the leads.
        start: Seconds from the beginning of the record to the first sample.
        rate: Samples a second.
        gap: Seconds.
    """
    at = marked.any(0).nonzero()[:, 0].tolist()
    found: list[tuple[int, int]] = []
    for sample in at:
        if found and sample - found[-1][1] < gap * rate:
            found[-1] = found[-1][0], sample + 1
        else:
            found.append((sample, sample + 1))
    return [
        {
            "start": start + first / rate,
            "end": start + last / rate,
            "leads": [name for name, row in zip(leads, marked[:, first:last], strict=True) if row.any()],
        }
        for first, last in found
    ]


def _save(
    record: SignalRecord, score: NDArray[np.float32], rate: float, picture: Picture, folder: Path
) -> dict[str, object]:
    *inner, last = map(file_name, record["id"].split("/"))
    target = folder.joinpath("scores", file_name(record["source"]), *inner, f"{last}.csv")
    time = record["start"] + np.arange(score.shape[1]) / rate
    names = ",".join(("time_s", *picture["leads"]))
    with replacing(target) as part:
        np.savetxt(part, np.vstack([time, score]).T, fmt="%.6g", delimiter=",", header=names, comments="")
    save(ecg_paper(**picture), target.with_suffix(".png"))
    return {"scores": str(target)}


def in_own_rate(heat: Tensor, length: int) -> Tensor:
    """Bring a score map `(L, T)` to the samples that its stretch has in the record itself; both begin at one moment."""
    last = heat.shape[-1] - 1
    place = (torch.arange(length, device=heat.device, dtype=heat.dtype) * (heat.shape[-1] / length)).clamp(max=last)
    before = place.long()
    return torch.lerp(heat[:, before], heat[:, (before + 1).clamp(max=last)], place - before)


def _picture(batch: Batch, index: int, heat: Tensor, known: bool) -> Picture:
    rate = float(batch["rate"][index])
    end = min(heat.shape[-1], round(_LONGEST * rate))
    mask = None
    if known and "mask" in batch:
        mask = F.adaptive_max_pool1d(batch["mask"][index][None].float(), heat.shape[-1])[0, :, :end].cpu().numpy() > 0
    return {
        "signal": batch["signal"][index, :, :end].detach().cpu().numpy(),
        "rate": rate,
        "leads": batch["leads"][index],
        "score": heat[:, :end].cpu().numpy(),
        "mask": mask,
        "title": f"{batch['id'][index]} {batch['kind'][index] if known else ''}".strip(),
    }
