"""What pre-training gives to the labels of each tier: two runs tested on the same records, compared record by record.

    medzoo fit --model ecg-longtail --data.seed 0 --seed_everything 0 --run_dir pretrained
    medzoo fit --model ecg-longtail --data.seed 0 --seed_everything 0 --run_dir scratch --model.stage diagnose
    python benchmarks/ecg_longtail.py pretrained scratch

Prints, for each tier and for all labels, the mean AUROC of both runs and the difference with its 95 % interval from
drawing patients, the same ones for both.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.metrics.classification import Floats, areas, intervals, row_means
from medzoo.core.tasks.diagnosis import TIERS


def read(run: Path) -> tuple[list[str], Floats, Floats, NDArray[np.str_]]:
    """Return labels' names, probabilities and labels `(N, C)`, and patients of a run's test, by id."""
    with (run / "samples.csv").open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["id"])
    names = [key.removeprefix("p_") for key in rows[0] if key.startswith("p_")]
    chances = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    labels = np.array([[float(row[f"label_{name}"] or "nan") for name in names] for row in rows])
    return names, chances, labels, np.array([row["patient"] or row["id"] for row in rows])


def main() -> None:
    """Print a line of JSON a tier."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("scratch", type=Path)
    given = parser.parse_args()
    names, ours, labels, patients = read(given.run)
    _, theirs, same, _ = read(given.scratch)
    if not np.array_equal(labels, same, equal_nan=True):
        parser.error("the runs were tested on other records")
    with (given.run / "tiers.csv").open(encoding="utf-8") as file:
        tier_of = {row["class"]: row["tier"] for row in csv.DictReader(file)}
    sets = {tier: [i for i, name in enumerate(names) if tier_of[name] == tier] for tier in TIERS}
    sets["all"] = list(range(len(names)))
    for tier, members in sets.items():

        def figures(weights: Floats, members: list[int] = members) -> Floats:
            both = [row_means(areas(p[:, members], labels[:, members], weights)) for p in (ours, theirs)]
            return np.column_stack([*both, both[0] - both[1]])

        values, (low, high) = figures(np.ones((1, len(labels))))[0], intervals(figures, patients)
        line = {"tier": tier, "labels": len(members), "pretrained": values[0], "scratch": values[1], "gain": values[2]}
        line |= {"gain_low": low[2], "gain_high": high[2]}
        print(json.dumps({key: round(v, 4) if isinstance(v, float) else v for key, v in line.items()}))


if __name__ == "__main__":
    main()
