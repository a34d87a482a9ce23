"""The one evaluator of all landmark methods: errors by domain in original geometry, figures, prediction records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_original
from medzoo.core.io import file_name, markdown_cell, replacing, write_csv
from medzoo.core.metrics import LandmarkMetrics, landmark_scores, radial_errors, score_spearman
from medzoo.core.metrics.landmark import landmark_table, sdr_name
from medzoo.core.plots import Case, error_cdf, landmark_grid, per_landmark_bars, save, score_reliability, spread
from medzoo.landmark.data.sources import Domain, Images
from medzoo.landmark.outputs import picture, tell_gaps

_KEPT = 64
_SHOWN = 6
_SIDE = 512  # pixels of a picture in a grid


@dataclass(frozen=True)
class _Seen:
    """What a figure needs of a tested image, all in original pixels."""

    id: str
    points: NDArray[np.float64]
    truth: NDArray[np.float64]
    known: NDArray[np.bool_]
    error: float

    def case(self, images: Images) -> Case:
        """Read the image, whose shape the figure keeps."""
        shown, affine = picture(images, self.id, _SIDE)
        return Case(shown, apply(affine, self.points), apply(affine, self.truth), self.known, self.id, self.error)


def model_domain(names: Sequence[str], domain: Domain) -> int:
    """Return the index that a trained model gives to a domain of the data.

    Raises:
        ConfigError: The model was not trained on a domain of that name.
    """
    if domain.name not in names:
        raise ConfigError(
            f"the model knows the domains {', '.join(names)}, not {domain.name}; name it with --data.name"
        )
    return list(names).index(domain.name)


class LandmarkEvaluation(nn.Module):
    """Collects the errors of a test, domain by domain, and a few images for the figures.

    Args:
        domains: Domains of the data that is tested on.
        observers: Of domains with two annotators, the distances `(N, K)` between them on the test images.
    """

    def __init__(self, domains: Sequence[Domain], observers: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.domains = list(domains)
        self.observers = dict(observers or {})
        self.metrics = nn.ModuleList(LandmarkMetrics(d.thresholds, d.unit, d.landmarks) for d in domains)
        self.cases: list[list[_Seen]] = [[] for _ in domains]
        self.tested: list[tuple[int, str, bool, bool]] = []
        """Of each image its domain and name, whether a point was not found, and whether a score is not finite."""
        self.errors: list[Tensor] = []
        """Of each domain, `(N, K)` over all processes, once computed."""
        self.scores: list[Tensor] = []
        """How sure the model was of the same points."""

    def update(self, batch: dict[str, Any], points: Tensor, score: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            batch: A test batch of one domain, see `medzoo.core.sample.LandmarkSample`.
            points: Predictions `(B, K, 2)` in pixels of the network's image, NaN where there is none.
            score: `(B, K)`, higher where the model is surer.
        """
        index = int(batch["domain"][0])
        predicted = to_original(points, batch["affine"])
        target, visible, scale = batch["landmarks"].double(), batch["visible"], batch["scale"].double()
        self._metric(index).update(predicted, target, visible, scale, score)
        unfound = (~predicted.isfinite().all(dim=2) & visible).any(dim=1).tolist()
        unsure = [False] * len(points) if score is None else (~score.isfinite()).any(dim=1).tolist()
        self.tested += [(index, *each) for each in zip(batch["id"], unfound, unsure, strict=True)]
        room = _KEPT - len(self.cases[index])
        errors = radial_errors(predicted, target, visible, scale)
        means = torch.where(errors.isinf(), torch.nan, errors).nanmean(dim=1)
        means = torch.where(means.isnan() & errors.isinf().any(dim=1), torch.inf, means)
        for i in range(min(room, len(points))):
            found, truth, known = (t[i].cpu().numpy() for t in (predicted, target, visible))
            self.cases[index].append(_Seen(batch["id"][i], found, truth, known, float(means[i])))

    def compute(self) -> dict[str, Tensor]:
        """Return `<domain>/<metric>` of every domain that was tested, see `medzoo.core.metrics.landmark_scores`.

        `<domain>/score_spearman` is the rank correlation of score and error over all points: −1 where the score tells
        which points are wrong, 0 where it tells nothing. `<domain>/observers/<metric>` compares the two annotators of
        a domain as if one were a model. To be called on every process.
        """
        both = [self._metric(i).errors_and_scores() for i in range(len(self.domains))]
        self.errors, self.scores = [errors.cpu() for errors, _ in both], [scores.cpu() for _, scores in both]
        found: dict[str, Tensor] = {}
        for i, domain in enumerate(self.domains):
            if self.errors[i].isnan().all():
                continue
            found |= {f"{domain.name}/{name}": value.float() for name, value in self._metric(i).compute().items()}
            if domain.name in self.observers:
                between = landmark_scores(self.observers[domain.name], domain.thresholds, domain.unit)
                found |= {f"{domain.name}/observers/{name}": value.float() for name, value in between.items()}
        return found

    def _metric(self, index: int) -> LandmarkMetrics:
        metric = self.metrics[index]
        assert isinstance(metric, LandmarkMetrics)
        return metric

    def tell_gaps(self) -> None:
        """Name the images of which points were not found, or whose scores are not finite; to be called everywhere."""
        tested = gather_all(self.tested)
        for index, domain in enumerate(self.domains):
            own = [entry for entry in tested if entry[0] == index]
            tell_gaps(domain.name, len(own), [e[1] for e in own if e[2]], [e[1] for e in own if e[3]])

    def report(self, folder: Path, images: Mapping[str, Images], weights: str) -> None:
        """After `compute`, write `table.md`, `landmarks.csv` and `figures/`.

        The figures are overlays, error distributions, errors by landmark, and errors by score.

        Args:
            folder: Where to write.
            images: The images of each domain.
            weights: The checkpoint that was tested, for the table.
        """
        rows: list[dict[str, object]] = []
        by_unit: dict[str, dict[str, Any]] = {}
        figures = folder / "figures"
        for domain, errors, scores, cases in zip(self.domains, self.errors, self.scores, self.cases, strict=True):
            if errors.isnan().all():
                continue
            by_unit.setdefault(domain.unit, {})[domain.name] = errors.numpy()
            rows += self._by_landmark(domain, errors, scores)
            bars = per_landmark_bars(errors.numpy(), domain.landmarks, domain.unit)
            save(bars, figures / f"{file_name(domain.name)}_landmarks.png")
            if (errors.isfinite() & scores.isfinite()).any():
                reliability = score_reliability(errors.numpy(), scores.numpy(), domain.unit)
                save(reliability, figures / f"{file_name(domain.name)}_scores.png")
            chosen = [cases[i].case(images[domain.name]) for i in spread([case.error for case in cases], _SHOWN)]
            if chosen:
                save(
                    landmark_grid(chosen, columns=3, unit=domain.unit),
                    figures / f"{file_name(domain.name)}_overlay.png",
                )
        for unit, errors_by_domain in by_unit.items():
            radii = sorted({t for d in self.domains if d.name in errors_by_domain for t in d.thresholds})
            save(error_cdf(errors_by_domain, unit, radii), figures / f"errors_{file_name(unit)}.png")
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if rows:
            write_csv(folder / "landmarks.csv", rows, columns)
            with replacing(folder / "table.md") as part:
                part.write_text("\n".join(self._table(weights)) + "\n", encoding="utf-8")

    def _by_landmark(self, domain: Domain, errors: Tensor, scores: Tensor) -> list[dict[str, object]]:
        table = {
            name: values.tolist() for name, values in landmark_table(errors, domain.thresholds, domain.unit).items()
        }
        if domain.name in self.observers:
            between = landmark_table(self.observers[domain.name], (), domain.unit)[f"mre_{domain.unit}"]
            table[f"observers_mre_{domain.unit}"] = between.tolist()
        if scores.isfinite().any():
            table["score"] = scores.nanmean(dim=0).tolist()
            table["score_spearman"] = [score_spearman(errors[:, k], scores[:, k]) for k in range(errors.shape[1])]
        return [
            {"domain": domain.name, "landmark": landmark, **{name: values[k] for name, values in table.items()}}
            for k, landmark in enumerate(domain.landmarks)
        ]

    def _table(self, weights: str) -> list[str]:
        """The table of the papers in Markdown: mean ± deviation, its interval, median, success rates, lost points."""
        lines = [
            "MRE ± STD over the points found, its 95 % interval from drawing images; median and SDR (the share within "
            "a radius) over all points, where one that was not found is a miss.",
            "",
            f"Weights of {markdown_cell(weights)}.",
        ]
        for domain, errors in zip(self.domains, self.errors, strict=True):
            if errors.isnan().all():
                continue
            unit = domain.unit
            radii = [f"SDR {radius:g} {unit}" for radius in domain.thresholds]
            head = [domain.name, f"MRE ± STD, {unit}", "95 %", f"median, {unit}", *radii, "not found"]
            lines += ["", _row(head), _row(["---", *["--:"] * (len(head) - 1)])]
            for label, pool in (("model", errors), ("two annotators", self.observers.get(domain.name))):
                if pool is None:
                    continue
                s = {name: float(value) for name, value in landmark_scores(pool, domain.thresholds, unit).items()}
                rates = [f"{s[sdr_name(radius)]:.2f}" for radius in domain.thresholds]
                interval = f"{s[f'mre_{unit}_low']:.2f} to {s[f'mre_{unit}_high']:.2f}"
                mean = f"{s[f'mre_{unit}']:.2f} ± {s[f'std_{unit}']:.2f}"
                median = f"{s[f'median_{unit}']:.2f}"
                lines.append(_row([label, mean, interval, median, *rates, f"{s['missing']:.0f}"]))
            lines += ["", domain.note] if domain.note else []
        return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_cell, cells))} |"


def records(
    batch: dict[str, Any], points: Tensor, score: Tensor, domain: str, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one JSON-like record an image, in original pixels and, where the spacing is known, in mm.

    Args:
        batch: A batch of one domain.
        points: `(B, K, 2)` in pixels of the network's image.
        score: `(B, K)`, how sure the method is of each point.
        domain: Name of the domain.
        names: Names of the landmarks.
    """
    original = to_original(points, batch["affine"]).cpu()
    spacing = batch["spacing"].double().cpu()
    out = []
    for i, identity in enumerate(batch["id"]):
        record: dict[str, Any] = {"id": identity, "path": batch["path"][i], "domain": domain}
        record["landmarks_px"] = dict(zip(names, original[i].tolist(), strict=True))
        if bool(torch.isfinite(spacing[i]).all()):
            record["landmarks_mm"] = dict(zip(names, (original[i] * spacing[i]).tolist(), strict=True))
        record["score"] = dict(zip(names, score[i].float().cpu().tolist(), strict=True))
        out.append(record)
    return out
