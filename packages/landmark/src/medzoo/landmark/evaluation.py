"""The one evaluator of all landmark methods: errors by domain in original geometry, figures, prediction records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medzoo.core.errors import ConfigError
from medzoo.core.geometry import apply, invert
from medzoo.core.io import write_csv
from medzoo.core.metrics import LandmarkMetrics
from medzoo.core.metrics.landmark import landmark_table
from medzoo.core.plots import Case, error_cdf, landmark_grid, per_landmark_bars, save, spread
from medzoo.landmark.data.sources import Domain

_KEPT = 64
_SHOWN = 6


def to_original(points: Tensor, affine: Tensor) -> Tensor:
    """Map points `(B, K, 2)` of the network's image to original pixels, by the inverse of `affine` `(B, 2, 3)`."""
    return apply(invert(affine.double()), points.double())


def to_network(points: Tensor, affine: Tensor) -> Tensor:
    """Map points `(B, K, 2)` in original pixels to the network's image, float32."""
    return apply(affine.double(), points.double()).float()


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
    """

    def __init__(self, domains: Sequence[Domain]) -> None:
        super().__init__()
        self.domains = list(domains)
        self.metrics = nn.ModuleList(LandmarkMetrics(d.thresholds, d.unit, d.landmarks) for d in domains)
        self.cases: list[list[Case]] = [[] for _ in domains]
        self.errors: list[Tensor] = []
        """Of each domain, `(N, K)` over all processes, once computed."""

    def update(self, batch: dict[str, Any], points: Tensor) -> None:
        """Add a batch.

        Args:
            batch: A test batch of one domain, see `medzoo.core.sample.LandmarkSample`.
            points: Predictions `(B, K, 2)` in pixels of the network's image, NaN where there is none.
        """
        index = int(batch["domain"][0])
        predicted = to_original(points, batch["affine"])
        target, visible, scale = batch["landmarks"].double(), batch["visible"], batch["scale"].double()
        self._metric(index).update(predicted, target, visible, scale)
        room = _KEPT - len(self.cases[index])
        shown = to_network(target, batch["affine"])
        errors = ((predicted - target) * scale[:, None]).norm(dim=2).masked_fill(~visible, torch.nan).nanmean(dim=1)
        for i in range(min(room, len(points))):
            picture = batch["image"][i, 0].cpu().numpy()
            found, truth, known = (t[i].cpu().numpy() for t in (points, shown, visible))
            self.cases[index].append(Case(picture, found, truth, known, batch["id"][i], float(errors[i])))

    def compute(self) -> dict[str, Tensor]:
        """Return `<domain>/<metric>` of every domain that was tested; to be called on every process."""
        self.errors = [self._metric(i).errors().cpu() for i in range(len(self.domains))]
        return {
            f"{domain.name}/{name}": value.float()
            for i, (domain, errors) in enumerate(zip(self.domains, self.errors, strict=True))
            for name, value in self._metric(i).compute().items()
            if not errors.isnan().all()
        }

    def _metric(self, index: int) -> LandmarkMetrics:
        metric = self.metrics[index]
        assert isinstance(metric, LandmarkMetrics)
        return metric

    def report(self, folder: Path) -> None:
        """After `compute`, write `landmarks.csv` and `figures/`: overlays, error distributions, errors by landmark."""
        rows: list[dict[str, object]] = []
        by_unit: dict[str, dict[str, Any]] = {}
        for domain, errors, cases in zip(self.domains, self.errors, self.cases, strict=True):
            if errors.isnan().all():
                continue
            by_unit.setdefault(domain.unit, {})[domain.name] = errors.numpy()
            scores = landmark_table(errors, domain.thresholds, domain.unit)
            table = {name: values.tolist() for name, values in scores.items()}
            for k, landmark in enumerate(domain.landmarks):
                row = {name: values[k] for name, values in table.items()}
                rows.append({"domain": domain.name, "landmark": landmark, **row})
            figures = folder / "figures"
            bars = per_landmark_bars(errors.numpy(), domain.landmarks, domain.unit)
            save(bars, figures / f"{domain.name}_landmarks.png")
            chosen = [cases[i] for i in spread([case.score for case in cases], _SHOWN)]
            if chosen:
                save(landmark_grid(chosen, columns=3, unit=domain.unit), figures / f"{domain.name}_overlay.png")
        for unit, errors_by_domain in by_unit.items():
            radii = sorted({t for d in self.domains if d.name in errors_by_domain for t in d.thresholds})
            save(error_cdf(errors_by_domain, unit, radii), folder / "figures" / f"errors_{unit}.png")
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if rows:
            write_csv(folder / "landmarks.csv", rows, columns)


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
