"""The one evaluator of all landmark methods: errors by domain in original geometry, figures, prediction records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_network, to_original
from medzoo.core.io import file_name, markdown_cell, replacing, write_csv
from medzoo.core.metrics import LandmarkMetrics, landmark_scores, score_spearman
from medzoo.core.metrics.landmark import landmark_table, sdr_name
from medzoo.core.plots import Case, error_cdf, landmark_grid, per_landmark_bars, save, score_reliability, spread
from medzoo.landmark.data.sources import Domain

_KEPT = 64
_SHOWN = 6


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
        self.cases: list[list[Case]] = [[] for _ in domains]
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
        room = _KEPT - len(self.cases[index])
        shown = to_network(target, batch["affine"])
        errors = ((predicted - target) * scale[:, None]).norm(dim=2).masked_fill(~visible, torch.nan).nanmean(dim=1)
        for i in range(min(room, len(points))):
            picture = batch["image"][i, 0].cpu().numpy()
            found, truth, known = (t[i].cpu().numpy() for t in (points, shown, visible))
            self.cases[index].append(Case(picture, found, truth, known, batch["id"][i], float(errors[i])))

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

    def report(self, folder: Path) -> None:
        """After `compute`, write `table.md`, `landmarks.csv` and `figures/`.

        The figures are overlays, error distributions, errors by landmark, and errors by score.
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
            chosen = [cases[i] for i in spread([case.score for case in cases], _SHOWN)]
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
                part.write_text("\n".join(self._table()) + "\n", encoding="utf-8")

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

    def _table(self) -> list[str]:
        """The table of the papers in Markdown: mean ± deviation with its interval, success rates, missing points."""
        lines = [
            "MRE ± STD over all points, its 95 % interval from drawing images; SDR: share of points within a radius."
        ]
        for domain, errors in zip(self.domains, self.errors, strict=True):
            if errors.isnan().all():
                continue
            unit = domain.unit
            radii = [f"SDR {radius:g} {unit}" for radius in domain.thresholds]
            head = [domain.name, f"MRE ± STD, {unit}", "95 %", *radii, "not found"]
            lines += ["", _row(head), _row(["---", *["--:"] * (len(head) - 1)])]
            for label, pool in (("model", errors), ("two annotators", self.observers.get(domain.name))):
                if pool is None:
                    continue
                s = {name: float(value) for name, value in landmark_scores(pool, domain.thresholds, unit).items()}
                rates = [f"{s[sdr_name(radius)]:.2f}" for radius in domain.thresholds]
                interval = f"{s[f'mre_{unit}_low']:.2f} to {s[f'mre_{unit}_high']:.2f}"
                mean = f"{s[f'mre_{unit}']:.2f} ± {s[f'std_{unit}']:.2f}"
                lines.append(_row([label, mean, interval, *rates, f"{s['missing']:.0f}"]))
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
