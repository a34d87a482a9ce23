"""The task of zero-shot classification with retrieval: outputs, evaluation, records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.distributed import gather_all, print_once
from medzoo.core.io import write_csv
from medzoo.core.metrics.classification import areas, intervals, precisions, row_means
from medzoo.core.metrics.retrieval import expected_hits
from medzoo.core.metrics.zero_shot import (
    best_thresholds,
    frequencies,
    matthews,
    micro_auroc,
    negation,
    single_sided,
    trapezoid_auprc,
)
from medzoo.core.names import listed
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction, identity
from medzoo.core.tasks.classification import JOIN, ClassificationOutputs
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.values import Row
from medzoo.vlm.pointing import Pointed, pointed, pointing

Floats = NDArray[np.float64]
RANKS = (1, 5, 10)
"""How many candidates the figures of retrieval look at."""


@dataclass
class ZeroShotOutputs(ClassificationOutputs):
    """What a model of image and text gives for a batch; `logits` are those of the prompts that affirm a class.

    Attributes:
        denials: `(B, C)` logits of the prompts that deny it.
        matches: `(B, M)` logits of candidate reports, for retrieval; None where there are none.
        maps: `(B, C, rows, columns)`, where in the network's image each class is seen, of data with boxes; else None.
        paired: Whether `logits` are less those of the prompts that deny, as prompts in pairs have it.
    """

    denials: Tensor | None = None
    matches: Tensor | None = None
    maps: Tensor | None = None
    paired: bool = False


class ZeroShotEvaluation(Evaluation[ZeroShotOutputs]):
    """Judges scores of classes that no label was trained on, and how images find their reports.

    Args:
        classes: Those of the data; empty for data without labels.
        reports: Candidate reports, each once.
        thresholds: Logit from which on a class is called, from validation images; others are called from 0 on.
        spread: Give intervals from drawing patients.
        seed: Seed of their draws.
    """

    def __init__(
        self,
        classes: Sequence[str],
        reports: Sequence[str] = (),
        thresholds: Mapping[str, float] | None = None,
        spread: bool = True,
        seed: int = 0,
    ) -> None:
        self.classes, self.spread, self.seed = tuple(classes), spread, seed
        self._places = {text: place for place, text in enumerate(reports)}
        self.known = np.array([name in (thresholds or {}) for name in self.classes], dtype=bool)
        self.thresholds = np.array([(thresholds or {}).get(name, 0.0) for name in self.classes])
        self.paired = False
        self.tested: list[Row] = []
        self.values: list[dict[str, list[float]]] = []
        self.pointed: list[Pointed] = []

    def update(self, batch: Batch, outputs: ZeroShotOutputs) -> None:
        """Add a batch, see `medzoo.vlm.data.module.ReportSample`.

        Raises:
            DataError: An image has a score that is not finite.
        """
        size = len(batch["id"])
        none = torch.zeros(size, 0)
        self.paired = outputs.paired
        parts = {
            "affirmed": outputs.logits,
            "denied": none if outputs.denials is None else outputs.denials,
            "matched": none if outputs.matches is None else outputs.matches,
            "label": batch.get("label", none),
        }
        plain = {name: value.detach().double().cpu() for name, value in parts.items()}
        scores = torch.cat([plain["affirmed"], plain["denied"], plain["matched"]], 1)
        require_finite(list(scores), places(batch))
        for index in range(size):
            values = {name: value[index].tolist() for name, value in plain.items()}
            logits, truth = values["affirmed"], values["label"]
            called = [logit >= cut for logit, cut in zip(logits, self.thresholds, strict=True)]
            wrong = [yes != (v == 1) for yes, v in zip(called, truth, strict=False) if not math.isnan(v)]
            source = batch["source"][index] if "source" in batch else "all"
            self.tested.append(
                {
                    **identity(batch, index, source),
                    "label": JOIN.join(n for n, v in zip(self.classes, truth, strict=False) if v == 1),
                    "prediction": JOIN.join(n for n, yes in zip(self.classes, called, strict=True) if yes),
                    "error": float(np.mean(wrong)) if wrong else math.nan,
                    "rank": self._rank(values["matched"], batch["text"][index]),
                    **{f"logit_{name}": value for name, value in zip(self.classes, logits, strict=True)},
                    **{
                        f"label_{name}": "" if math.isnan(value) else int(value)
                        for name, value in zip(self.classes, truth, strict=False)
                    },
                }
            )
            self.values.append({**values, "text": [float(self._place(batch["text"][index]))]})
        if outputs.maps is not None and "boxes" in batch:
            maps = outputs.maps.detach().float().cpu().numpy()
            self.pointed += pointed(batch, maps, self.classes)

    def _place(self, text: str) -> int:
        return self._places.get(text, -1)

    def _rank(self, matched: Sequence[float], text: str) -> float:
        """Return the place of an image's own report among the candidates, from 1; ties count half."""
        place = self._place(text)
        if place < 0 or not matched:
            return math.nan
        scores = np.array(matched)
        return float((scores > scores[place]).sum() + ((scores == scores[place]).sum() + 1) / 2)

    def compute(self) -> dict[str, float]:
        """Return `<source>/<metric>`; what cannot be told is left out.

        `auroc`, the mean over the labels with both sides (their own in `auroc/<label>`, their number in `labels`), with
        95 % intervals from drawing patients; `auroc_micro`; `auroc_head`, `auroc_medium`, `auroc_tail` by the number of
        positives; `ap` (steps) and `auprc_trapz` (trapezoids); `neg_auroc` and `pnc_auroc`, the probe of negation;
        `mcc`, Matthews' correlation of the labels that have a threshold; `i2t_r@k` and `t2i_r@k`, retrieval of
        reports by images and of images by reports among all of the test. Of data with boxes `pointing`, see
        `medzoo.vlm.pointing`.
        """
        self.tested, self.values = gather_all(self.tested), gather_all(self.values)
        self.pointed = gather_all(self.pointed)
        found: dict[str, float] = {}
        for source in dict.fromkeys(row["source"] for row in self.tested):
            chosen = [i for i, row in enumerate(self.tested) if row["source"] == source]
            chosen.sort(key=lambda i: self.tested[i]["id"])
            arrays = {key: np.array([self.values[i][key] for i in chosen], dtype=float) for key in self.values[0]}
            rows = [self.tested[i] for i in chosen]
            patients = np.array([row["patient"] or row["id"] for row in rows])
            found_in = [one for one in self.pointed if one.source == source]
            figures = {**self._labels(arrays, patients), **self._retrieval(arrays, patients), **pointing(found_in)}
            found |= {f"{source}/{name}": value for name, value in figures.items() if not math.isnan(value)}
        return found

    def rows(self) -> list[Row]:
        """Return a row a sample: labels, calls, error (share of labels called wrong), rank of its report, logits."""
        return self.tested

    def best_thresholds(self) -> Floats:
        """Return for each class the logit of the highest correlation on these images, +inf where it cannot be told."""
        pairs = [(v["affirmed"], v["label"]) for v in self.values if v["label"]]
        if not pairs:
            return np.full(len(self.classes), math.inf)
        logits, labels = (np.array([pair[part] for pair in pairs], dtype=float) for part in (0, 1))
        return best_thresholds(logits, labels)

    def _labels(self, arrays: dict[str, Floats], patients: NDArray[np.str_]) -> dict[str, float]:
        logits, labels = arrays["affirmed"], arrays["label"]
        if not self.classes or labels.shape[1] != len(self.classes):
            return {}

        def drawn(weights: Floats) -> Floats:
            area = areas(logits, labels, weights)
            return np.column_stack([row_means(area), area])

        once = np.ones((1, len(logits)))
        names = ["auroc", *(f"auroc/{name}" for name in self.classes)]
        columns = [drawn(once)[0], *(intervals(drawn, patients, self.seed) if self.spread else ())]
        found = {
            f"{name}{end}": float(value[index])
            for index, name in enumerate(names)
            for end, value in zip(("", "_low", "_high"), columns, strict=False)
        }
        each = columns[0][1:]
        found["labels"] = float((~np.isnan(each)).sum())
        found["auroc_micro"] = micro_auroc(logits, labels)
        for name, places_of in frequencies(labels).items():
            found[f"auroc_{name}"] = float(row_means(each[places_of][None])[0])
        found["ap"] = float(row_means(precisions(logits, labels)[None])[0])
        trapezoids = [trapezoid_auprc(logits[:, c], labels[:, c]) for c in range(len(self.classes))]
        found["auprc_trapz"] = float(row_means(np.array([trapezoids]))[0])
        if arrays["denied"].shape[1]:
            probe = self._probe(logits, arrays["denied"], labels)
            found |= {f"{name}_auroc": float(row_means(probe[name][None])[0]) for name in ("neg", "pnc")}
        if self.known.any():
            each = matthews(logits >= self.thresholds, labels)
            found["mcc"] = float(row_means(np.where(self.known, each, math.nan)[None])[0])
        return found

    def _probe(self, logits: Floats, denied: Floats, labels: Floats) -> dict[str, Floats]:
        """Return the probe of negation; logits of pairs are both sentences' already."""
        found = negation(logits, denied, labels)
        return {**found, "pnc": found["pos"]} if self.paired else found

    def _retrieval(self, arrays: dict[str, Floats], patients: NDArray[np.str_]) -> dict[str, float]:
        scores, own = arrays["matched"], arrays["text"][:, 0].astype(int)
        if not scores.shape[1]:
            return {}
        right = own[:, None] == np.arange(scores.shape[1])
        found = {}
        for k in RANKS:
            for name, matrix, good in (("i2t", scores, right), ("t2i", scores.T, right.T)):
                hits = expected_hits(matrix, good, k)
                known = ~np.isnan(hits)
                found[f"{name}_r@{k}"] = float(hits[known].mean()) if known.any() else math.nan
                if name == "i2t" and self.spread and known.any():
                    low, high = intervals(_weighted_mean(hits[known]), patients[known], self.seed)
                    found |= {f"i2t_r@{k}_low": float(low[0]), f"i2t_r@{k}_high": float(high[0])}
        found["candidates"] = float(scores.shape[1])
        return found

    def report(self, folder: Path) -> None:
        """Write `samples.csv` and `labels.csv` (figures of each label), and name the labels without a ranking."""
        super().report(folder)
        rows = [value for value in self.values if value["label"]]
        if not rows:
            return
        logits, denied, labels = (np.array([row[key] for row in rows]) for key in ("affirmed", "denied", "label"))
        probe = self._probe(logits, denied if denied.shape[1] else np.full_like(logits, math.nan), labels)
        table = [
            {
                "label": name,
                "positives": int((labels[:, c] == 1).sum()),
                "negatives": int((labels[:, c] == 0).sum()),
                "auroc": probe["pos"][c],
                **({"neg_auroc": probe["neg"][c], "pnc_auroc": probe["pnc"][c]} if denied.shape[1] else {}),
                "threshold": self.thresholds[c] if self.known[c] else "",
            }
            for c, name in enumerate(self.classes)
        ]
        write_csv(folder / "labels.csv", table)
        alone = single_sided(labels, self.classes)
        if alone:
            print_once(f"no ranking of {len(alone)} labels of which all tested images agree: {listed(alone)}")


def _weighted_mean(values: Floats) -> Callable[[Floats], Floats]:
    def mean(weights: Floats) -> Floats:
        found: Floats = ((weights @ values) / weights.sum(1))[:, None]
        return found

    return mean


class ZeroShotRecord(TypedDict):
    """What is called of an image, and the logit of each class."""

    id: str
    path: str
    prediction: list[str]
    logits: dict[str, float]


def predictions(batch: Batch, outputs: ZeroShotOutputs, thresholds: Mapping[str, float]) -> list[Prediction]:
    """Return the logit of each class for each image, and which are called at their thresholds, else at 0.

    Raises:
        DataError: A logit is not finite.
    """
    require_finite(list(outputs.logits), places(batch))
    found = []
    for index, logits in enumerate(outputs.logits.detach().double().cpu().tolist()):
        pairs = dict(zip(outputs.classes, logits, strict=True))
        called = [name for name, logit in pairs.items() if logit >= thresholds.get(name, 0.0)]
        found.append(
            Prediction({"id": batch["id"][index], "path": batch["path"][index], "prediction": called, "logits": pairs})
        )
    return found


def write_predictions(records: Sequence[ZeroShotRecord], folder: Path) -> None:
    """Write `predictions.csv`, a row an image: what is called, and the logit of each class."""
    rows = [
        {
            "id": record["id"],
            "path": record["path"],
            "prediction": JOIN.join(record["prediction"]),
            **{f"logit_{name}": value for name, value in record["logits"].items()},
        }
        for record in records
    ]
    if rows:
        write_csv(folder / "predictions.csv", rows)
