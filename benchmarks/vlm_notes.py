"""CARZero trained on a few real radiographs with notes: `python benchmarks/vlm_notes.py ../shared/data/chest_notes`.

The folder holds `images/` and `metadata.csv` (filename, patient, finding, clinical_notes). A file that has several
rows is taken once. Patients are divided into a training, a validation and a test part for each seed; figures are those
of the test after the last epoch, with 95 % intervals from drawing patients: retrieval of notes by images and zero-shot
of the findings that at least `--least` images have. What chance would give stands beside: k of the candidates, and 0.5.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FIGURES = ("i2t_r@1", "i2t_r@5", "i2t_r@10", "auroc")


def once(root: Path, table: Path) -> None:
    """Write the table with each file once."""
    with (root / "metadata.csv").open(newline="", encoding="utf8") as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}
    with table.open("w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, next(iter(rows.values())))
        writer.writeheader()
        writer.writerows(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--least", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            once(options.root, table := Path(folder, "notes.csv"))
            flags = {
                "model": "carzero", "data": "report-table", "data.root": options.root / "images", "data.table": table,
                "data.image": "filename", "data.text": "clinical_notes", "data.labels": "[finding]",
                "data.least": options.least, "data.captions": "both", "data.test_fraction": 0.35,
                "data.val_fraction": 0.1, "model.words": 64, "model.size": options.size, "model.epochs": options.epochs,
                "seed_everything": seed, "data.seed": seed, "run_dir": f"{folder}/run", "trainer.accelerator": "cpu",
            }  # fmt: skip
            command = [sys.executable, "-m", "medzoo.core", "fit", "--quiet"]
            command += [part for key, value in flags.items() for part in (f"--{key}", str(value))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr.strip()[-500:])
            for line in done.stdout.splitlines():
                if line.startswith("images "):
                    print(line)
            metrics = json.loads(Path(folder, "run/results.json").read_text())["metrics"]
            short = {name.partition("/")[2]: value for name, value in metrics.items()}
            shown = ", ".join(
                f"{n} {short[n]:.3f} ({short[f'{n}_low']:.3f} to {short[f'{n}_high']:.3f})"
                for n in FIGURES
                if n in short
            )
            each = ", ".join(f"{k.removeprefix('auroc/')} {v:.3f}" for k, v in short.items()
                             if k.startswith("auroc/") and not k.endswith(("_low", "_high")))  # fmt: skip
            many = short["candidates"]
            chance = ", ".join(f"{k / many:.3f}" for k in (1, 5, 10))
            print(f"seed {seed}: {shown}; {many:.0f} candidates, chance {chance}; {each}", flush=True)


if __name__ == "__main__":
    main()
