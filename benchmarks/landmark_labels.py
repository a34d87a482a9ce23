"""Every landmark method by the number of annotated images: `python benchmarks/landmark_labels.py FOLDER [--chest DIR]`.

Runs `medzoo fit` once for each method, number of labels and seed, skips what FOLDER already has, and prints a table of
the mean radial errors with their spread over the seeds. The seed draws the split, the shots and the weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SUPERVISED = ("heatmap", "gu2net", "han")
ONE_SHOT = ("uod", "cc2d", "igu-aug")
LABELS = ("1", "5", "10", "all")


def runs(methods: list[str], numbers: list[str], seeds: int) -> Iterator[tuple[str, str, int]]:
    """Yield method, labels and seed, the first seed of all before the second; one-shot methods have one label."""
    for seed in range(seeds):
        for method in methods:
            yield from ((method, labels, seed) for labels in (numbers if method in SUPERVISED else LABELS[:1]))


def fit(folder: Path, data: list[str], method: str, labels: str, seed: int, steps: int | None) -> None:
    """Train and test; what the command prints goes to `log.txt` beside the run."""
    command = [sys.executable, "-m", "medzoo.core", "fit", "--model", method, *data, "--run_dir", str(folder)]
    command += ["--seed_everything", str(seed), "--data.seed", str(seed), "--data.shots", labels, "--quiet"]
    if method in SUPERVISED and steps is not None:
        command += ["--model.steps", str(steps)]
    if (folder / "config.yaml").is_file():
        command.append("--resume")
    log = folder.with_suffix(".txt")
    started = time.monotonic()
    with log.open("w") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    print(f"{folder.name}: exit {code} after {time.monotonic() - started:.0f} s", flush=True)


def errors(folder: Path) -> dict[str, float]:
    """Read the mean radial errors of a finished run by domain, and what copying the shots gives."""
    path = folder / "results.json"
    metrics = json.loads(path.read_text())["metrics"] if path.is_file() else {}
    return {
        name: value for name, value in metrics.items() if name.count("/") == 1 and name.endswith(("mre_px", "mre_mm"))
    }


def cell(values: list[float]) -> str:
    """Write the mean and the range over the seeds."""
    if not values:
        return "–"
    mean = statistics.fmean(values)
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f}; {len(values)})" if len(values) > 1 else f"{mean:.2f}"


def table(folder: Path, methods: list[str], numbers: list[str], seeds: int) -> list[str]:
    """Write a row a method and number of labels, a column a domain."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for method, labels, seed in runs(methods, numbers, seeds):
        for name, value in errors(folder / f"{method}-{labels}-{seed}").items():
            found.setdefault((method, labels), {}).setdefault(name, []).append(value)
    names = sorted({name for row in found.values() for name in row})
    lines = ["| method | labels | " + " | ".join(names) + " |", "|---|--:|" + "--:|" * len(names)]
    for (method, labels), row in sorted(found.items(), key=lambda at: (at[0][0], LABELS.index(at[0][1]))):
        lines.append(f"| {method} | {labels} | " + " | ".join(cell(row.get(name, [])) for name in names) + " |")
    return lines


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chest", type=Path, help="a folder in the chest layout instead of the built-in images")
    parser.add_argument("--methods", nargs="+", default=[*SUPERVISED, *ONE_SHOT])
    parser.add_argument("--labels", nargs="+", default=list(LABELS), choices=LABELS, help="of the supervised methods")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of the supervised methods, instead of those of their recipes")
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    data = ["--data", "chest", "--data.root", str(args.chest)] if args.chest else []
    args.folder.mkdir(parents=True, exist_ok=True)
    for method, labels, seed in [] if args.table else runs(args.methods, args.labels, args.seeds):
        run = args.folder / f"{method}-{labels}-{seed}"
        if not (run / "results.json").is_file():
            fit(run, data, method, labels, seed, args.steps)
    print("\n".join(table(args.folder, args.methods, args.labels, args.seeds)))


if __name__ == "__main__":
    main()
