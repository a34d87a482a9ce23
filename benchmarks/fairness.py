"""Fairness methods beside the usual baselines on built-in data: `python benchmarks/fairness.py TABLE [SEED ...]`.

TABLE is one of groups, shortcut and tail. Each line is a fit of a packaged recipe with the options shown; the figures
are those of its test, after the last epoch. A summary of means and standard deviations over the seeds follows.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from medzoo.core.cli import main

SKIN = ("accuracy/light", "accuracy/dark", "eodd_max", "auc_gap", "worst_auc", "swapped_accuracy")
GROUPS = ["accuracy", "auroc", *(f"skin/{name}" for name in SKIN)]
BASELINE = ["--model", "fair-baseline"]
SHORTCUT = ["--data.train", "2000", "--data.val", "200", "--data.test", "1000", "--data.dark", "0", "--data.overlap"]
SHORTCUT += ["0.06", "--data.conflict", "0.05", "--data.augment", "0"]
LABELS = ["--data", "lesion-structures", "--model.lr", "0.003", "--model.epochs", "8"]
TABLES: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "groups": (
        GROUPS,
        {
            "ERM": BASELINE,
            "resampling": [*BASELINE, "--data.order", "group"],
            "group x class": [*BASELINE, "--data.order", "group-class"],
            "group-mean CE": [*BASELINE, "--model.loss", "group-mean"],
            "GroupDRO": [*BASELINE, "--model.loss", "group-dro"],
            "FairAdaBN": ["--model", "fair-adabn"],
            "FairAdaBN, alpha 0": ["--model", "fair-adabn", "--model.alpha", "0"],
        },
    ),
    "shortcut": (
        ["accuracy", "ink/aligned_auc", "ink/conflict_auc", "ink/balanced_auc", "bias/lesions/ink/conflict_auc"],
        {
            "ERM": [*BASELINE, *SHORTCUT],
            "group x class, ink known": [*BASELINE, *SHORTCUT, "--data.order", "group-class", "--data.order_by", "ink"],
            "group-mean CE, ink known": [
                *BASELINE,
                *SHORTCUT,
                "--model.loss",
                "group-mean",
                "--model.attribute",
                "ink",
            ],
            "JTT": ["--model", "jtt"],
            "LfF": ["--model", "lff"],
            "PBBL": ["--model", "pbbl"],
            "Ada-ABC": ["--model", "ada-abc"],
        },
    ),
    "tail": (
        ["ap", "head_ap", "middle_ap", "tail_ap", "auroc"],
        {
            "BCE": [*BASELINE, *LABELS],
            "class-aware order": [*BASELINE, *LABELS, "--data.order", "class"],
            "focal": [*BASELINE, *LABELS, "--model.loss", "focal"],
            "ASL": [*BASELINE, *LABELS, "--model.loss", "asl"],
            "DB": [*BASELINE, *LABELS, "--model.loss", "db"],
            "ANR": ["--model", "ltml", "--model.reconsider", "none"],
            "LTML (ANR + LLA)": ["--model", "ltml"],
            "ANR + LLM": ["--model", "ltml", "--model.reconsider", "modify"],
        },
    ),
}


def measure(flags: list[str], seed: int, names: list[str]) -> list[float]:
    """Return the figures of one fit and, last, its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        own = ["--seed_everything", str(seed), "--data.seed", str(seed), "--run_dir", f"{folder}/run", "--quiet"]
        assert main(["fit", *flags, *own, "--trainer.accelerator", "cpu"]) == 0
        seconds = time.perf_counter() - start
        metrics = json.loads(Path(folder, "run/results.json").read_text())["metrics"]
    short = metrics | {name.partition("/")[2]: value for name, value in metrics.items()}
    return [short.get(name, float("nan")) for name in names] + [seconds]


def run(table: str, seeds: list[int], only: list[str]) -> None:
    """Print a line a fit, then the summary."""
    names, rows = TABLES[table]
    rows = {name: flags for name, flags in rows.items() if not only or name in only}
    found: dict[str, list[list[float]]] = {}
    for method, flags in rows.items():
        for seed in seeds:
            values = measure(flags, seed, names)
            found.setdefault(method, []).append(values)
            shown = ", ".join(f"{n} {v:.3f}" for n, v in zip([*names, "seconds"], values, strict=True))
            print(f"{method}, seed {seed}: {shown}", flush=True)
    print("| method | " + " | ".join([*names, "seconds"]) + " |")
    for method, fits in found.items():
        mean, spread = np.mean(fits, axis=0), np.std(fits, axis=0, ddof=1 if len(seeds) > 1 else 0)
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True)]
        print(f"| {method} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[2:] if a.isdigit()]
    run(sys.argv[1], numbers or [0, 1, 2], [a for a in sys.argv[2:] if not a.isdigit()])
