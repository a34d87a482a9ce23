"""Table, errors by landmark and figures of a test of landmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.geometry import apply
from medzoo.core.io import file_name, markdown_cell, replacing, write_csv
from medzoo.core.metrics import landmark_scores, score_spearman
from medzoo.core.metrics.landmark import landmark_table, sdr_name
from medzoo.core.plots import Case, error_cdf, landmark_grid, per_landmark_bars, save, score_reliability, spread
from medzoo.core.tasks.landmark_types import Domain, Picture, Seen

_SHOWN = 6


@dataclass(frozen=True)
class Tested:
    """What a test of landmarks has found, domain by domain.

    Attributes:
        domains: The domains.
        errors: Of each, `(N, K)` in its unit; infinity where a point was not found, NaN where it was not annotated.
        scores: Of each, `(N, K)`, how sure the model was.
        cases: Of each, some images for the overlays.
        observers: Of domains with two annotators, the distances `(N, K)` between them.
        picture: Reads images; None draws no overlays.
        weights: What the table says of the weights that were tested.
    """

    domains: Sequence[Domain]
    errors: Sequence[Tensor]
    scores: Sequence[Tensor]
    cases: Sequence[Sequence[Seen]]
    observers: Mapping[str, Tensor]
    picture: Picture | None
    weights: str

    def each(self) -> Iterator[tuple[Domain, Tensor, Tensor, Sequence[Seen]]]:
        """Yield domain, errors, scores and cases."""
        return zip(self.domains, self.errors, self.scores, self.cases, strict=True)


def write_report(tested: Tested, folder: Path) -> None:
    """Write `table.md`, `landmarks.csv` and `figures/`: overlays, errors, errors by landmark, errors by score.

    Args:
        tested: What to write of.
        folder: Where to write.
    """
    rows: list[dict[str, object]] = []
    by_unit: dict[str, dict[str, NDArray[np.floating]]] = {}
    figures = folder / "figures"
    for domain, errors, scores, cases in zip(tested.domains, tested.errors, tested.scores, tested.cases, strict=True):
        if errors.isnan().all():
            continue
        by_unit.setdefault(domain.unit, {})[domain.name] = errors.numpy()
        rows += _by_landmark(tested, domain, errors, scores)
        bars = per_landmark_bars(errors.numpy(), domain.landmarks, domain.unit)
        save(bars, figures / f"{file_name(domain.name)}_landmarks.png")
        if (errors.isfinite() & scores.isfinite()).any():
            reliability = score_reliability(errors.numpy(), scores.numpy(), domain.unit)
            save(reliability, figures / f"{file_name(domain.name)}_scores.png")
        chosen = [cases[i] for i in spread([case.error for case in cases], _SHOWN)]
        if chosen and tested.picture is not None:
            drawn = [case_of(seen, *tested.picture(domain.name, seen.id)) for seen in chosen]
            save(
                landmark_grid(drawn, columns=3, unit=domain.unit),
                figures / f"{file_name(domain.name)}_overlay.png",
            )
    for unit, errors_by_domain in by_unit.items():
        radii = sorted({t for d in tested.domains if d.name in errors_by_domain for t in d.thresholds})
        save(error_cdf(errors_by_domain, unit, radii), figures / f"errors_{file_name(unit)}.png")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if rows:
        write_csv(folder / "landmarks.csv", rows, columns)
        with replacing(folder / "table.md") as part:
            part.write_text("\n".join(_table(tested)) + "\n", encoding="utf-8")


def case_of(seen: Seen, shown: NDArray[np.float32], affine: NDArray[np.float64]) -> Case:
    """Return what is drawn of a tested image.

    Args:
        seen: The image's points, in original pixels.
        shown: The picture, `(H, W)` in [0, 1].
        affine: `(2, 3)`, from original pixels to those of the picture.
    """
    return Case(shown, apply(affine, seen.points), apply(affine, seen.truth), seen.known, seen.id, seen.error)


def _by_landmark(tested: Tested, domain: Domain, errors: Tensor, scores: Tensor) -> list[dict[str, object]]:
    table = {name: values.tolist() for name, values in landmark_table(errors, domain.thresholds, domain.unit).items()}
    if domain.name in tested.observers:
        between = landmark_table(tested.observers[domain.name], (), domain.unit)[f"mre_{domain.unit}"]
        table[f"observers_mre_{domain.unit}"] = between.tolist()
    if scores.isfinite().any():
        table["score"] = scores.nanmean(dim=0).tolist()
        table["score_spearman"] = [score_spearman(errors[:, k], scores[:, k]) for k in range(errors.shape[1])]
    return [
        {"domain": domain.name, "landmark": landmark, **{name: values[k] for name, values in table.items()}}
        for k, landmark in enumerate(domain.landmarks)
    ]


def _table(tested: Tested) -> list[str]:
    """The table of the papers in Markdown: mean ± deviation, its interval, median, success rates, lost points."""
    lines = [
        "MRE ± STD over the points found, its 95 % interval from drawing images; median and SDR (the share within "
        "a radius) over all points, where one that was not found is a miss.",
        "",
        f"Weights of {markdown_cell(tested.weights)}.",
    ]
    for domain, errors, _, _ in tested.each():
        if errors.isnan().all():
            continue
        unit = domain.unit
        radii = [f"SDR {radius:g} {unit}" for radius in domain.thresholds]
        head = [domain.name, f"MRE ± STD, {unit}", "95 %", f"median, {unit}", *radii, "not found"]
        lines += ["", _row(head), _row(["---", *["--:"] * (len(head) - 1)])]
        for label, pool in (("model", errors), ("two annotators", tested.observers.get(domain.name))):
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
