"""What rules without any training give: `python benchmarks/landmark_trivial.py [--chest DIR] [--seeds N]`.

Copies the annotated images' landmarks to the same relative place of each test image (mean error over them), or puts
each landmark at the median of their relative places. The seed draws the split and the annotated images, as in
`medzoo fit`.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np

from medzoo.core.errors import ConfigError
from medzoo.landmark.data import Chest, LandmarkDataModule, LandmarkPhantoms
from medzoo.landmark.data.sources import LandmarkSource

LABELS: tuple[int | str, ...] = (1, 5, 10, "all")


def errors(source: LandmarkSource, shots: tuple[str, ...]) -> tuple[float, float]:
    """Return the mean radial errors of copying and of the median position, in the domain's unit."""
    templates = np.stack([relative(source, name) for name in shots])  # (S, K, 2)
    guesses = np.concatenate([np.nanmedian(templates, axis=0)[None], templates])
    found = []
    for name in source.split.test:
        width, height = source.images.header(name).size
        size = width, height
        truth = source.points(name, size)
        away = (guesses * size - 0.5 - truth) * source.scale(name, truth, size)
        found.append(np.linalg.norm(away, axis=-1))  # (1 + S, K)
    table = np.stack(found)
    return float(np.nanmean(table[:, 1:])), float(np.nanmean(table[:, 0]))


def relative(source: LandmarkSource, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the landmarks of an image as shares of its width and height."""
    width, height = source.images.header(name).size
    size = width, height
    return (source.points(name, size) + 0.5) / size


def main() -> None:
    """Print a row for each rule, anatomy and number of labels: mean, least and most over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chest", type=Path, help="a folder in the chest layout instead of the built-in images")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    found: dict[tuple[str, str, str], list[float]] = {}
    for seed in range(args.seeds):
        for labels in LABELS:
            data: LandmarkDataModule
            if args.chest:
                data = Chest(str(args.chest), seed=seed, shots=labels)
            else:
                data = LandmarkPhantoms(seed=seed, shots=labels)
            for source, shots in zip(data.sources, data.shot_ids, strict=True):
                if not shots:
                    raise ConfigError(f"domain {source.domain.name}: expected labelled training images, got none")
                for rule, error in zip(("copy", "median position"), errors(source, shots), strict=True):
                    found.setdefault((source.domain.name, rule, str(labels)), []).append(error)
    for (domain, rule, count), values in sorted(found.items()):
        print(
            f"{domain}, {rule}, labels {count}: {statistics.fmean(values):.1f} "
            f"({min(values):.1f} to {max(values):.1f}; {len(values)})"
        )


if __name__ == "__main__":
    main()
