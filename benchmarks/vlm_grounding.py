"""Where a trained model of image and text looks, and how its scores hang on the words: on drawn radiographs.

    medzoo fit --model carzero --run_dir run
    python benchmarks/vlm_grounding.py run/checkpoints/last.ckpt

For each finding, images with it alone. A hit of the pointing game is a map whose highest cell lies in the box about
what was drawn (the pixels that differ from the same subject without it). Beside it stand two checks: the same model
with random weights, and the middle of all boxes of the finding for every image, which looks at none; `area` is the part
of the image that the box covers, `cnr` the contrast to noise of the map. `spread` is the standard deviation of a
class's logit over its synonyms, divided by that over the images: 0 where words do not matter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medzoo.core import load_checkpoint
from medzoo.core.metrics.grounding import contrast_to_noise, points_at
from medzoo.vlm.phantoms.findings import FINDINGS, SEVERITIES, Finding, chest_radiograph
from medzoo.vlm.phantoms.reports import NAMES
from medzoo.vlm.text.prompts import Prompt, Prompts
from medzoo.vlm.zero_shot.classifier import ZeroShotClassifier

SEED = 4711
Box = tuple[int, int, int, int]
Pixels = NDArray[np.float32]


def drawn(name: str, count: int, pixels: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """Return images with one finding, and where each differs from the same subject without it."""
    images, regions = [], []
    rng = np.random.default_rng((SEED, list(FINDINGS).index(name)))
    for index in range(count):
        side = str(rng.choice(["left", "right"])) if FINDINGS[name].sided else ""
        finding = Finding(name, side, SEVERITIES[int(rng.integers(3))])
        seed = (SEED, list(FINDINGS).index(name), index)
        image = chest_radiograph([finding], seed, pixels)
        changed = np.abs(image - chest_radiograph([], seed, pixels)) > 0.05
        if changed.any():
            images.append(image)
            regions.append(changed)
    return images, regions


def box(region: NDArray[np.bool_]) -> Box:
    """Return the box about a region."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def hits(
    classifier: ZeroShotClassifier, name: str, images: Sequence[NDArray[np.float32]], boxes: Sequence[Box]
) -> float:
    """Return how often the highest cell lies in the box."""
    found = classifier.predict(images, maps=True)
    return float(np.mean([points_at(s.peaks[name], [b]) for s, b in zip(found, boxes, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--images", type=int, default=30, help="of each finding")
    parser.add_argument("--pixels", type=int, default=64)
    options = parser.parse_args()
    model = load_checkpoint(options.checkpoint)
    torch.manual_seed(0)
    blank = type(model)(**model.hparams)
    print("finding              hits  random  middle   area    cnr  spread")
    rows = []
    for name in FINDINGS:
        images, regions = drawn(name, options.images, options.pixels)
        boxes = [box(region) for region in regions]
        middle = tuple(np.mean([((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes], axis=0).tolist())
        asked = ZeroShotClassifier(model, [name])
        scored = asked.predict(images, maps=True)
        logits = np.array([s.logits[name] for s in scored])
        synonyms = tuple(Prompt(text, (f"There is {text}",)) for text in NAMES[name])
        each = ZeroShotClassifier(model, Prompts(synonyms)).predict(images)
        by_words = np.array([[s.logits[text] for text in NAMES[name]] for s in each])
        pairs = zip(scored, regions, strict=True)
        contrasts = [contrast_to_noise(s.maps[name].astype(float), region) for s, region in pairs]
        row = (
            hits(asked, name, images, boxes),
            hits(ZeroShotClassifier(blank, [name]), name, images, boxes),
            float(np.mean([points_at(middle, [b]) for b in boxes])),
            float(np.mean([(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in boxes])) / options.pixels**2,
            float(np.mean(contrasts)),
            float(by_words.std(1).mean() / max(logits.std(), 1e-9)),
        )
        rows.append(row)
        print(f"{name:20s}", " ".join(f"{value:6.3f}" for value in row), flush=True)
    print(f"{'mean':20s}", " ".join(f"{value:6.3f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
