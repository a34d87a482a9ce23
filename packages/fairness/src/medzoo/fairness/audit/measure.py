"""The audit of a cohort: each group's figures with intervals, gaps with their null, checks and warnings."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import ParamSpec, Protocol

import numpy as np
from numpy.typing import NDArray

from medzoo.core.metrics.fairness import GAPS, NEEDS, Floats, ScoreCounts, enough, group_gaps, group_metrics
from medzoo.core.metrics.fairness_tests import (
    Cases,
    benjamini_hochberg,
    bootstrap,
    delong,
    interval,
    normal_p,
    p_value,
    permutations,
)
from medzoo.fairness.audit.attributes import Groups, pairs_of_values
from medzoo.fairness.audit.cohort import Cohort
from medzoo.fairness.audit.facts import Attribute, Difference, Figures, Gap, Group, Metric

Resampled = dict[str, Floats]
Arguments = ParamSpec("Arguments")
_PARTS = 4
"""Tasks that the shuffles of an attribute are divided into; fixed, so that figures do not depend on the processors."""
_LEVEL = 0.95
TESTED = ("selection_rate", "tpr", "tnr", "auc", "tpr_at_tnr", "ece", "brier", "accuracy")
"""Metrics of which each group is compared with all cases whose group is known."""


@dataclass(frozen=True)
class Settings:
    """Choices of an audit.

    Attributes:
        threshold: Smallest score that is called positive.
        minimum: Positives, negatives or cases that a group needs for a metric to take part in gaps.
        repeats: Resamples of the bootstrap, and shuffles of the null.
        tnr: True-negative rate of `tpr_at_tnr`.
        bins: Of the expected calibration error.
        no_finding: Whether label 1 means «no finding».
        seed: Of the resampling.
    """

    threshold: float
    minimum: int = 10
    repeats: int = 1000
    tnr: float = 0.8
    bins: int = 10
    no_finding: bool = False
    seed: int = 0

    def metrics(self, counts: ScoreCounts) -> dict[str, Floats]:
        """Return all metrics of counts."""
        return group_metrics(counts, self.threshold, tnr=self.tnr, bins=self.bins, no_finding=self.no_finding)


@dataclass
class _Seeds:
    """Generators that depend on the content of a group and not on its name, nor on the order of rows and groups."""

    seed: int
    used: dict[int, int] = field(default_factory=dict)

    def new(self, cases: Cases, purpose: int) -> np.random.Generator:
        content = np.bincount(cases.codes, minlength=2 * len(cases.scores)).tobytes() + cases.scores.tobytes()
        key = zlib.crc32(content, purpose)
        self.used[key] = self.used.get(key, 0) + 1
        return np.random.default_rng([self.seed, key, self.used[key], purpose])


def measure(cohort: Cohort, settings: Settings) -> Figures:
    """Return the figures of an audit, as the JSON holds them: `overall`, `attributes` and `warnings`."""
    seeds = _Seeds(settings.seed)
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
    everybody = _Cell(cohort, np.arange(len(cohort.scores)), settings)
    with ThreadPoolExecutor(workers) as pool:
        overall = pool.submit(everybody.resampled, seeds.new(everybody.cases, 1)).result
        attributes = [_Attribute(cohort.judged(g), g, settings, seeds, pool.submit) for g in cohort.groups]
        results = [attribute.result() for attribute in attributes]
        whole = everybody.facts("all", overall())
    cells = [cell for result in results for cell in result["groups"]]
    for metric in TESTED:
        adjusted = benjamini_hochberg(np.array([cell["p"][metric] for cell in cells], dtype=np.float64))
        for cell, value in zip(cells, adjusted, strict=True):
            cell["q"][metric] = float(value)
    warnings = [f"{count} rows {why} were left out" for why, count in cohort.excluded.items() if count]
    if cohort.alone:
        warnings.append(f"{cohort.alone} cases without a patient count as a patient each")
    warnings += [warning for result in results for warning in result["warnings"]]
    return {"overall": whole, "attributes": results, "warnings": warnings}


class _Cell:
    """The cases of one group: exact counts for its figures, and coarser ones that are resampled."""

    def __init__(self, cohort: Cohort, rows: NDArray[np.intp], settings: Settings) -> None:
        self.settings = settings
        patients = cohort.patients
        if patients is not None:
            rows = rows[np.argsort(patients[rows], kind="stable")]
        scores, labels = cohort.scores[rows], cohort.labels[rows]
        self.counts = ScoreCounts.of(scores, labels)
        numbers = patients[rows] if patients is not None else None
        self.cases = Cases.of(scores, labels, numbers, settings.threshold)
        self.positives = int(labels.sum())
        self.negatives = len(labels) - self.positives
        self.patients = len(self.cases.sizes) if patients is not None else None
        self.values = {name: float(value) for name, value in settings.metrics(self.counts).items()}

    @property
    def size(self) -> int:
        return self.positives + self.negatives

    @property
    def content(self) -> tuple[int, int, bytes]:
        """What orders groups without their names."""
        counts = self.counts
        return self.size, self.positives, counts.scores.tobytes() + counts.positives.tobytes()

    def enough(self, metric: str) -> bool:
        return enough(metric, self.positives, self.negatives, self.settings.minimum, self.settings.no_finding)

    def resampled(self, generator: np.random.Generator) -> Resampled:
        """Return each metric of all resamples; NaN where there is one patient only, who says nothing of another."""
        if len(self.cases.sizes) < 2:
            return {name: np.full(self.settings.repeats, np.nan) for name in NEEDS}
        parts = [self.settings.metrics(c) for c in bootstrap(self.cases, self.settings.repeats, generator)]
        return {name: np.concatenate([part[name] for part in parts]) for name in NEEDS}

    def facts(self, name: str, resampled: Resampled | None) -> Group:
        metrics: dict[str, Metric] = {
            metric: {
                "value": self.values[metric],
                "interval": interval(resampled[metric], _LEVEL) if resampled else (math.nan, math.nan),
                "enough": self.enough(metric),
            }
            for metric in NEEDS
        }
        area, variance = delong(self.counts)
        half = 1.959964 * math.sqrt(variance) if not math.isnan(variance) else math.nan
        return {
            "name": name,
            "cases": self.size,
            "positives": self.positives,
            "negatives": self.negatives,
            "patients": self.patients,
            "prevalence": self.positives / self.size if self.size else math.nan,
            "metrics": metrics,
            "delong": {"auc": area, "interval": (area - half, area + half)},
        }


class _Submit(Protocol):
    """Starts a task."""

    def __call__(
        self, task: Callable[Arguments, Resampled], /, *args: Arguments.args, **more: Arguments.kwargs
    ) -> Future[Resampled]:
        """Start a task with these arguments."""


class _Attribute:
    """One attribute: its tasks start at once, `result` waits for them."""

    def __init__(
        self,
        cohort: Cohort,
        groups: Groups,
        settings: Settings,
        seeds: _Seeds,
        submit: _Submit,
    ) -> None:
        self.groups, self.settings = groups, settings
        self.cells = [_Cell(cohort, np.flatnonzero(groups.codes == g), settings) for g in range(len(groups.names))]
        self.unknown = _Cell(cohort, np.flatnonzero(groups.codes < 0), settings) if (groups.codes < 0).any() else None
        shown = [*self.cells, *([self.unknown] if self.unknown else [])]
        self.tasks = [submit(cell.resampled, seeds.new(cell.cases, 1)) for cell in shown]
        self.shared = 0
        known = np.flatnonzero(groups.codes >= 0)
        # Shuffled groups are drawn one after the other: in an order that names have no say in.
        order = sorted(range(len(self.cells)), key=lambda g: self.cells[g].content)
        self.rank = np.argsort(np.array(order, dtype=np.intp))
        codes, units = self.rank[groups.codes[known]].astype(np.int64), None
        if cohort.patients is not None:
            by_patient = np.lexsort((codes, cohort.patients[known]))
            known, codes = known[by_patient], codes[by_patient]
            patients = cohort.patients[known]
            new = (np.diff(patients, prepend=-1) != 0) | (np.diff(codes, prepend=-1) != 0)
            units = np.cumsum(new) - 1
            self.shared = int((np.bincount(patients[new]) > 1).sum()) if len(known) else 0
            codes = codes[new]
        self.together = settings.metrics(ScoreCounts.of(cohort.scores[known], cohort.labels[known]))
        self.nulls = []
        if len(self.cells) > 1:
            pooled = Cases.of(cohort.scores[known], cohort.labels[known], units, settings.threshold)
            repeats = [settings.repeats // _PARTS + (part < settings.repeats % _PARTS) for part in range(_PARTS)]
            self.nulls = [submit(self._null, pooled, codes, n, seeds.new(pooled, 2)) for n in repeats if n]

    def _null(self, pooled: Cases, codes: NDArray[np.int64], repeats: int, generator: np.random.Generator) -> Resampled:
        """Return each metric of all groups under shuffled groups, `(G, repeats)`."""
        parts: list[Resampled] = []
        for groups in permutations(pooled, codes, len(self.cells), repeats, generator):
            each = [self.settings.metrics(counts) for counts in groups]
            parts.append({name: np.stack([one[name] for one in each]) for name in NEEDS})
        return {name: np.concatenate([part[name] for part in parts], axis=1) for name in NEEDS}

    def result(self) -> Attribute:
        resampled = [task.result() for task in self.tasks]
        nulls = [task.result() for task in self.nulls]
        null = {name: np.concatenate([part[name] for part in nulls], axis=1)[self.rank] for name in NEEDS if nulls}
        rows = [cell.facts(n, r) for cell, n, r in zip(self.cells, self.groups.names, resampled, strict=False)]
        for g, row in enumerate(rows):
            row["p"], row["q"] = {m: self._p(g, m, null) for m in TESTED}, {}
        unknown = self.unknown.facts("unknown", resampled[-1]) if self.unknown else None
        return {
            "name": self.groups.name,
            "groups": rows,
            "unknown": unknown,
            "gaps": self._gaps(resampled[: len(self.cells)], null),
            "delong": self._delong(),
            "warnings": self._warnings(),
        }

    def _p(self, g: int, metric: str, null: Resampled) -> float:
        """Compare a group with all whose group is known; shuffled groups lie around the same value."""
        if not null or not self.cells[g].enough(metric):
            return math.nan
        centre = float(self.together[metric])
        return p_value(abs(self.cells[g].values[metric] - centre), np.abs(null[metric][g] - centre))

    def _gaps(self, resampled: Sequence[Resampled], null: Resampled) -> dict[str, Gap]:
        allowed = {m: np.array([cell.enough(m) for cell in self.cells], dtype=bool) for m in NEEDS}
        values = {m: np.array([cell.values[m] for cell in self.cells]) for m in NEEDS}
        values = {m: np.where(allowed[m], v, np.nan) for m, v in values.items()}
        observed = group_gaps(values)
        none = np.full((len(self.cells), self.settings.repeats), np.nan)
        drawn = {m: np.stack([r[m] for r in resampled]) if len(resampled) else none for m in NEEDS}
        spread = group_gaps({m: np.where(allowed[m][:, None], v, np.nan) for m, v in drawn.items()})
        shuffled = group_gaps({m: np.where(allowed[m][:, None], v, np.nan) for m, v in null.items()}) if null else {}
        found: dict[str, Gap] = {}
        for name, needs in GAPS.items():
            value = float(observed[name])
            by_chance = shuffled.get(name, np.empty(0))
            small = name in ("dp_ratio", "worst_auc")
            sign = -1.0 if small else 1.0
            limit = _quantile(by_chance, 0.05 if small else 0.95)
            fact: Gap = {
                "value": value,
                "interval": interval(spread[name], _LEVEL) if not math.isnan(value) else (math.nan, math.nan),
                "by_chance_95": limit if not math.isnan(value) else math.nan,
                "p": p_value(sign * value, sign * by_chance),
                "groups_compared": int((~np.isnan(sum(values[m] for m in needs))).sum()),
            }
            if math.isnan(value):
                fact["reason"] = f"fewer than two groups with at least {self.settings.minimum} of each class needed"
            elif len(needs) == 1:
                fact["lowest"] = self.groups.names[int(np.nanargmin(values[needs[0]]))]
                fact["highest"] = self.groups.names[int(np.nanargmax(values[needs[0]]))]
            found[name] = fact
        return found

    def _delong(self) -> Difference | None:
        areas = [(*delong(cell.counts), name) for cell, name in zip(self.cells, self.groups.names, strict=True)]
        valid = [a for a, cell in zip(areas, self.cells, strict=True) if cell.enough("auc") and not math.isnan(a[1])]
        if len(valid) < 2:
            return None
        low, high = min(valid), max(valid)
        p = normal_p(high[0] - low[0], high[1] + low[1])
        return {"lowest": low[2], "highest": high[2], "difference": high[0] - low[0], "p": p}

    def _warnings(self) -> list[str]:
        name, least = self.groups.name, self.settings.minimum
        found = [
            f"{name}: {group} has {cell.positives} positives and {cell.negatives} negatives; metrics whose cases are"
            f" fewer than {least} stay out of the gaps"
            for group, cell in zip(self.groups.names, self.cells, strict=True)
            if min(cell.positives, cell.negatives) < least
        ]
        found += [
            f"{name}: {group} is one {'patient' if cell.patients else 'case'}, of whom there is no interval"
            for group, cell in zip(self.groups.names, self.cells, strict=True)
            if len(cell.cases.sizes) == 1
        ]
        if self.unknown:
            found.append(f"{name}: {self.unknown.size} cases of unknown group are a row of their own, in no gap")
        if self.shared:
            found.append(f"{name}: {self.shared} patients have cases in several groups and are drawn in each of them")
        found += [f"{name}: {same} look like one group written twice" for same in pairs_of_values(self.groups.names)]
        if len(self.cells) < 2:
            found.append(f"{name}: has {len(self.cells)} known groups, so there is no gap")
        return found


def _quantile(values: Floats, level: float) -> float:
    valid = values[~np.isnan(values)]
    return float(np.quantile(valid, level)) if len(valid) else math.nan


def settings_facts(settings: Settings) -> dict[str, object]:
    """Return what the report says of the settings."""
    return {**asdict(settings), "interval": "percentile bootstrap of patients within groups", "level": _LEVEL}
