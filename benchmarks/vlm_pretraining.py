"""Does ECAMP's pre-training help a classifier with few labels? `python benchmarks/vlm_pretraining.py`.

For each seed the quick recipe of `ecamp` learns from 1,500 drawn radiographs with their reports. Its transformer starts
classifiers that learn from the labels of 1, 10 and 100 % of these images; beside each stands the same classifier with
random weights. `--seeds N …` chooses seeds, `--labels N …` numbers of labelled images, `--epochs N` those of `ecamp`.
Besides, on the test images, the loss of hidden words with the own image and with another's (`words`, `words_other`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from medzoo.core import load_checkpoint
from medzoo.vlm.data.phantoms import ReportPhantoms
from medzoo.vlm.ecamp.module import ECAMP

CLASSIFIER = ["--model", "classifier", "--data", "report-phantoms", "--model.backbone", "test_vit"]
CLASSIFIER += ["--model.size", "64", "--model.batch", "48", "--model.lr", "0.001", "--data.augment", "0.3"]
STEPS = {15: 300, 150: 300, 1500: 750}


def fit(folder: Path, *flags: str) -> dict[str, float]:
    """Return the figures of a fit on the processor."""
    own = ["--run_dir", str(folder), "--quiet", "--trainer.accelerator", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "medzoo.core", "fit", *flags, *own], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(flags)}: {done.stderr.strip()[-500:]}")
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    return {name.partition("/")[2]: value for name, value in metrics.items()}


@torch.no_grad()
def words(folder: Path, seed: int) -> tuple[float, float]:
    """Return the loss of hidden words on test images, with the own image and with that of the next one."""
    model = load_checkpoint(folder / "checkpoints/last.ckpt")
    assert isinstance(model, ECAMP)
    data = ReportPhantoms(seed=seed, pixels=128, size=list(model.processor.size), batch_size=50, captions="report")
    own, other = [], []
    for batch in data.test_dataloader():
        own += model.outputs(batch).words.tolist()
        other += model.outputs({**batch, "image": batch["image"].roll(1, 0)}).words.tolist()
    return float(np.mean(own)), float(np.mean(other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--labels", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    for seed in options.seeds:
        seeds = ["--seed_everything", str(seed), "--data.seed", str(seed)]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            epochs = ["--model.epochs", str(options.epochs)] if options.epochs else []
            start = time.perf_counter()
            before = fit(folder / "ecamp", "--model", "ecamp", *seeds, *epochs)
            seconds = time.perf_counter() - start
            shown = ", ".join(f"{key} {value:.3f}" for key, value in before.items())
            own, other = words(folder / "ecamp", seed)
            print(f"seed {seed}: {shown}, words_other {other:.3f} beside {own:.3f}, seconds {seconds:.0f}", flush=True)
            for count in options.labels:
                few = ["--data.train", str(count), "--model.steps", str(STEPS.get(count, 300))]
                for what, more in (
                    ("random", []),
                    ("ecamp", ["--model.weights", str(folder / "ecamp/encoder.safetensors")]),
                ):
                    found = fit(folder / f"{what}{count}", *CLASSIFIER, *seeds, *few, *more)
                    interval = f"{found['auroc_low']:.3f} to {found['auroc_high']:.3f}"
                    print(f"seed {seed}, {count} labelled, {what}: auroc {found['auroc']:.3f} ({interval})", flush=True)


if __name__ == "__main__":
    main()
