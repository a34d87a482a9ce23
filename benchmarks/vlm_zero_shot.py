"""Models of image and text beside their rivals on drawn radiographs with reports: `python benchmarks/vlm_zero_shot.py`.

Each line is a fit of a packaged recipe with the options shown in `ROWS`, and the figures of its test after the last
epoch; a table of means and standard deviations over the seeds follows. `as published` draws one sentence an image,
takes all others of the batch for wrong, and has no choices about denials; `frozen` leaves both encoders random,
`shuffled` gives each image the report of another, and the classifier is trained on labels of a part of the images.
`xcoop` and `mica` learn from labels: of their earlier stage, concepts and corrected concepts the lines have more.
`--rows NAME ...` chooses rows, `--seeds N ...` seeds, `--jobs N` fits at a time, `--device gpu` where they run, and
what is left, such as `--trainer.max_epochs 1`, reaches each fit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

FIGURES = ("auroc", "auroc_head", "auroc_tail", "ap", "neg_auroc", "pnc_auroc", "i2t_r@10")
SUPERVISED = ["--model", "classifier", "--data", "report-phantoms", "--model.backbone", "test_efficientnet"]
SUPERVISED += ["--model.size", "64", "--model.batch", "48", "--model.lr", "0.002", "--data.augment", "0.3"]
AS_PUBLISHED = ["--model", "carzero", "--model.sentences", "1", "--model.targets", "diagonal"]
MORE = ("backbone/phantoms/auroc", "align/phantoms/auroc", "phantoms/concepts/auroc", "phantoms/intervened/auroc")
ROWS: dict[str, list[str]] = {
    "carzero": ["--model", "carzero"],
    "cosine": ["--model", "carzero", "--model.fusion", "cosine"],
    "xcoop": ["--model", "xcoop"],
    "mica": ["--model", "mica"],
    "as published": [*AS_PUBLISHED, "--model.negatives", "false"],
    "frozen": ["--model", "carzero", "--model.frozen", "true"],
    "shuffled": ["--model", "carzero", "--data.shuffled", "true"],
    "concept-clip": ["--model", "concept-clip"],
    "labels 1 %": [*SUPERVISED, "--data.train", "15", "--model.steps", "300"],
    "labels 10 %": [*SUPERVISED, "--data.train", "150", "--model.steps", "300"],
    "labels 100 %": [*SUPERVISED, "--model.steps", "750"],
    "xcoop, no alignment": ["--model", "xcoop", "--model.prompt_weight", "0", "--model.token_weight", "0"],
    "cabs": ["--model", "carzero", "--model.fusion", "cabs"],
}


def measure(row: str, seed: int, device: str, more: list[str]) -> dict[str, float]:
    """Return the figures of one fit, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        own = ["--seed_everything", str(seed), "--data.seed", str(seed), "--run_dir", f"{folder}/run", "--quiet"]
        command = [sys.executable, "-m", "medzoo.core", "fit", *ROWS[row], *own, "--trainer.accelerator", device, *more]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            raise SystemExit(f"{row}, seed {seed}: {done.stderr.strip()[-500:]}")
        seconds = time.perf_counter() - start
        metrics = json.loads(Path(folder, "run/results.json").read_text())["metrics"]
    short = {name.partition("/")[2]: value for name, value in metrics.items()}
    found = {name: short.get(name, float("nan")) for name in FIGURES} | {"seconds": seconds}
    further = {name: metrics[name] for name in MORE if name in metrics}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in (found | further).items())
    print(f"{row}, seed {seed}: {shown}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options, more = parser.parse_known_args()
    fits = [(row, seed) for row in options.rows for seed in options.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda fit: measure(fit[0], fit[1], options.device, more), fits))
    names = [*FIGURES, "seconds"]
    print("| row | " + " | ".join(names) + " |")
    for row in options.rows:
        values = np.array(
            [[found[n] for n in names] for fit, found in zip(fits, results, strict=True) if fit[0] == row]
        )
        spread = values.std(axis=0, ddof=1 if len(values) > 1 else 0)
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(axis=0), spread, strict=True)]
        print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
