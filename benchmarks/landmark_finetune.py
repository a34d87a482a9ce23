"""What weights of drawn images are worth on a few real ones: `python benchmarks/landmark_finetune.py FOLDER --chest D`.

Trains `heatmap` on `--labels` annotated radiographs from random weights, from the packed `heatmap-phantom`, and from
those with their encoder frozen; the network is the same. The seed draws the split, the labelled images and the weights.
Skips what FOLDER already has, and prints the mean radial errors of the test images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

NETWORK = "--model.width 8 --model.decoder_width 32 --model.size 64 --model.sigma 1.5"
WAYS = {
    "from random weights": NETWORK,
    "from drawn chests": f"{NETWORK} --init_from heatmap-phantom",
    "from drawn chests, encoder frozen": f"{NETWORK} --init_from heatmap-phantom --freeze encoder",
}


def error(folder: Path, options: list[str]) -> float:
    """Train where FOLDER has no figures yet, and return the mean radial error in the unit of the data."""
    results = folder / "results.json"
    if not results.is_file():
        command = [sys.executable, "-m", "medzoo.core", "fit", "--model", "heatmap", *options]
        subprocess.run([*command, "--run_dir", str(folder), "--quiet"], stdout=subprocess.DEVNULL, check=True)
    metrics: dict[str, float] = json.loads(results.read_text())["metrics"]
    return next(value for name, value in metrics.items() if name in ("chest/mre_mm", "chest/mre_px"))


def main() -> None:
    """Print a row a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chest", type=Path, required=True, metavar="DIR", help="see `medzoo info chest`")
    parser.add_argument("--labels", type=int, nargs="+", default=[5])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    for labels in given.labels:
        for way, options in WAYS.items():
            found = []
            for seed in given.seeds:
                name = f"{way.replace(' ', '_').replace(',', '')}-{labels}-{seed}"
                data = f"--data chest --data.root {given.chest} --data.shots {labels} --data.seed {seed}"
                own = f"--seed_everything {seed} --model.steps {given.steps}"
                found.append(error(given.folder / name, f"{data} {own} {options}".split()))
            each = ", ".join(f"{value:.1f}" for value in found)
            print(f"{labels} labels, {way}: {statistics.fmean(found):.1f} ({each})", flush=True)


if __name__ == "__main__":
    main()
