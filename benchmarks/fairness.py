"""Fairness methods beside the usual baselines on built-in data.

`python benchmarks/fairness.py TABLE [SEED ...] [METHOD ...] [--jobs N] [--out FILE]`: TABLE is groups, shortcut, tail,
segmentation or all. A line is a fit of a packaged recipe with the options shown; the figures are those of its test,
after the last epoch. FILE gets each fit as a line of JSON as soon as it is there. At the end: means and
standard deviations over seeds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

SKIN = ("accuracy/light", "accuracy/dark", "eodd_max", "auc_gap", "worst_auc", "swapped_accuracy")
GROUPS = ["accuracy", "auroc", *(f"skin/{name}" for name in SKIN)]
SCANNER = ("base_dice_gap", "dice_gap", "base_dice/b", "dice/b", "dice/a", "base_probe", "probe")
BASELINE = ["--model", "fair-baseline"]
SHORTCUT = ["--data", "shortcut-phantoms"]
INK = ["--model.loss", "group-mean", "--model.attribute", "ink"]
ERM = "an ERM of the same seed"
"""Stands for the checkpoint of such a fit, which is made first."""
AGAIN = ["--init_from", ERM, "--model.trains", "head", "--data.order", "group-class", "--model.epochs", "3"]
BY_GROUP = "thresholds by group"
"""The fit is judged by `medzoo audit` with a threshold for each group, fitted on images of another seed."""
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
            "group heads": [*BASELINE, "--model.loss", "group-heads"],
            "last layer again": [*BASELINE, *AGAIN],
            "threshold by group": [*BASELINE, BY_GROUP],
            "gradient reversal": [*BASELINE, "--model.loss", "gradient-reversal"],
            "mean weights": [*BASELINE, "--model.average", "0.25"],
            "FairAdaBN": ["--model", "fair-adabn"],
            "FairAdaBN, alpha 0": ["--model", "fair-adabn", "--model.alpha", "0"],
        },
    ),
    "shortcut": (
        ["accuracy", "ink/aligned_auc", "ink/conflict_auc", "ink/balanced_auc", "bias/lesions/ink/conflict_auc"],
        {
            "ERM": [*BASELINE, *SHORTCUT],
            "group x class, ink known": [*BASELINE, *SHORTCUT, "--data.order", "group-class", "--data.order_by", "ink"],
            "group-mean CE, ink known": [*BASELINE, *SHORTCUT, *INK],
            "JTT": ["--model", "jtt"],
            "LfF": ["--model", "lff"],
            "PBBL": ["--model", "pbbl"],
            "Ada-ABC": ["--model", "ada-abc"],
        },
    ),
    "tail": (
        ["ap", "head_ap", "middle_ap", "tail_ap", "auroc", "balanced_accuracy"],
        {
            "BCE": [*BASELINE, *LABELS],
            "class-aware order": [*BASELINE, *LABELS, "--data.order", "class"],
            "focal": [*BASELINE, *LABELS, "--model.loss", "focal"],
            "class-balanced": [*BASELINE, *LABELS, "--model.loss", "class-balanced"],
            "ASL": [*BASELINE, *LABELS, "--model.loss", "asl"],
            "DB": [*BASELINE, *LABELS, "--model.loss", "db"],
            "ANR": ["--model", "ltml", "--model.reconsider", "none"],
            "LTML (ANR + LLA)": ["--model", "ltml"],
            "ANR + LLM": ["--model", "ltml", "--model.reconsider", "modify"],
        },
    ),
    "segmentation": (
        ["base_dice", "dice", *(f"scanner/{name}" for name in SCANNER), "perturbation"],
        {"APPLE": ["--model", "apple"], "APPLE, beta 0": ["--model", "apple", "--model.beta", "0"]},
    ),
}
Fit = tuple[str, str, int]


def measure(fit: Fit) -> tuple[Fit, dict[str, float] | str]:
    """Return the figures of one fit, and its seconds; what it printed where it failed."""
    from medzoo.core.cli import main

    table, method, seed = fit
    names, methods = TABLES[table]
    with tempfile.TemporaryDirectory() as folder:
        log, start = Path(folder, "log"), time.perf_counter()
        own = ["--seed_everything", str(seed), "--data.seed", str(seed), "--quiet", "--trainer.accelerator", "cpu"]
        last, options = f"{folder}/erm/checkpoints/last.ckpt", methods[method]
        commands = [["fit", *BASELINE, *own, "--run_dir", f"{folder}/erm"]] if ERM in options else []
        fitted = [last if word == ERM else word for word in options if word != BY_GROUP]
        commands.append(["fit", *fitted, *own, "--run_dir", f"{folder}/run"])
        if BY_GROUP in options:
            commands += by_group(Path(folder), seed + 1000)
        with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
            codes = [main(command) for command in commands]
        if any(codes):
            return fit, f"ended with codes {codes}: {log.read_text()[-2000:]}"
        seconds = time.perf_counter() - start
        metrics = json.loads(Path(folder, "run/results.json").read_text())["metrics"]
        if BY_GROUP in options:
            metrics |= audited(Path(folder, "audit/audit.json"))
    short = metrics | {name.partition("/")[2]: value for name, value in metrics.items()}
    return fit, {**{name: short.get(name, float("nan")) for name in names}, "seconds": seconds}


def by_group(folder: Path, seed: int) -> list[list[str]]:
    """Return the commands that fit thresholds on images of another seed, and audit the test with them."""
    other = ["--data.seed", str(seed), "--run_dir", f"{folder}/other", "--quiet"]
    columns = ["--label", "label", "--positive", "melanoma", "--score", "p_melanoma", "--group", "group_skin"]
    fitted = ["--threshold", f"by-group:{folder}/other/samples.csv", "--repeats", "100", "--out", f"{folder}/audit"]
    return [
        ["test", "--ckpt_path", f"{folder}/run/checkpoints/last.ckpt", *other],
        ["audit", f"{folder}/run/samples.csv", *columns, *fitted],
    ]


def audited(path: Path) -> dict[str, float]:
    """Return the figures by skin of an audit under the names of a test; the AUROC of a group is as it was."""
    (skin,) = json.loads(path.read_text())["attributes"]
    accuracy = {cell["name"]: cell["metrics"]["accuracy"]["value"] for cell in skin["groups"]}
    cases = {cell["name"]: cell["cases"] for cell in skin["groups"]}
    whole = sum(accuracy[name] * cases[name] for name in cases) / sum(cases.values())
    return {
        "lesions/accuracy": whole,
        "lesions/skin/accuracy/light": accuracy["0"],
        "lesions/skin/accuracy/dark": accuracy["1"],
        "lesions/skin/eodd_max": skin["gaps"]["eodd_max"]["value"],
    }


def run(fits: list[Fit], jobs: int, out: Path | None) -> dict[Fit, dict[str, float]]:
    """Fit everything, several at a time, each in a process that is kept; print and keep what is finished."""
    found: dict[Fit, dict[str, float]] = {}
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for fit, figures in pool.imap_unordered(measure, fits):
            table, method, seed = fit
            if isinstance(figures, str):
                print(f"{table}, {method}, seed {seed} {figures}", flush=True)
                continue
            found[fit] = figures
            print(
                f"{table}, {method}, seed {seed}: " + ", ".join(f"{n} {v:.3f}" for n, v in figures.items()), flush=True
            )
            if out is not None:
                with out.open("a") as file:
                    file.write(json.dumps({"table": table, "method": method, "seed": seed, **figures}) + "\n")
    return found


def summary(found: dict[Fit, dict[str, float]]) -> str:
    """Return a table of Markdown for each of `TABLES`: mean and standard deviation over the seeds."""
    lines = []
    for table, (names, methods) in TABLES.items():
        rows = {m: [v for (t, own, _), v in found.items() if (t, own) == (table, m)] for m in methods}
        if any(rows.values()):
            lines += [
                "",
                "| method | fits | " + " | ".join([*names, "seconds"]) + " |",
                "|---" * (len(names) + 3) + "|",
            ]
        for method, fits in rows.items():
            cells = []
            for name in [*names, "seconds"] if fits else []:
                values = np.array([figures[name] for figures in fits])
                cells.append(f"{values.mean():.3f} ± {values.std(ddof=1) if len(values) > 1 else 0:.3f}")
            lines += [f"| {method} | {len(fits)} | " + " | ".join(cells) + " |"] if fits else []
    return "\n".join(lines)


def main() -> None:
    """Read the arguments, fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*TABLES, "all"])
    parser.add_argument("words", nargs="*", metavar="SEED|METHOD", help="seeds (0 1 2) and methods (all)")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time")
    parser.add_argument(
        "--out", type=Path, help="file for a line of JSON a fit; those that it has are not fitted again"
    )
    args = parser.parse_args()
    seeds = [int(word) for word in args.words if word.isdigit()] or [0, 1, 2]
    only = [word for word in args.words if not word.isdigit()]
    tables = list(TABLES) if args.table == "all" else [args.table]
    chosen = [(t, m) for t in tables for m in TABLES[t][1] if not only or m in only]
    if unknown := sorted(set(only) - {m for _, m in chosen}):
        parser.error(f"no method {', '.join(unknown)}; known are {', '.join(m for t in tables for m in TABLES[t][1])}")
    found: dict[Fit, dict[str, float]] = {}
    for line in args.out.read_text().splitlines() if args.out is not None and args.out.is_file() else []:
        row = json.loads(line)
        found[row.pop("table"), row.pop("method"), row.pop("seed")] = row
    fits = [(t, m, seed) for seed in seeds for t, m in chosen]
    print(summary(found | run([fit for fit in fits if fit not in found], args.jobs, args.out)))


if __name__ == "__main__":
    main()
