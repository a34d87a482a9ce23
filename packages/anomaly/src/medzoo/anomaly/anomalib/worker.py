"""Runs models of anomalib for medzoo, inside anomalib's own environment, where medzoo is not installed.

Called as `python -I worker.py FOLDER`. Each line of standard input is one request in JSON, answered by one line:

- `{"do": "build", "detector", "options", "size"}` makes a detector, and so reports a slip.
- `{"do": "fit", "number", "device", ...}` shows a fresh one the `images` of `FOLDER/NUMBER.in.npz`.
- `{"do": "score", "number"}` scores such images by the last one fitted: `maps` and `scores` of `FOLDER/NUMBER.out.npz`.

An answer is `{}`, or `{"error": KIND, "text": TEXT}`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from anomalib.data import ImageBatch
    from torch import Tensor

PIECE = 32  # images through the network at a time


class Refused(Exception):  # noqa: N818 - a fault of the request
    """A request that cannot be met: the kind of fault and a text."""


def main(folder: Path) -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # what anomalib prints is no answer
    detectors = Detectors(folder)
    known: dict[str, Callable[..., object]] = {"build": detectors.build, "fit": detectors.fit, "score": detectors.score}
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, str] = {}
        try:
            known[request.pop("do")](**request)
        except Refused as fault:
            answer = dict(zip(("error", "text"), fault.args, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever a detector raises on these images
            answer = {"error": "other", "text": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    shutil.rmtree(folder, ignore_errors=True)  # who asked has ended without a word, such as by a signal


class Scores(Protocol):
    """What a detector's network gives for images `(B, 3, H, W)`."""

    anomaly_map: Tensor | None
    pred_score: Tensor


class Network(Protocol):
    """The network of a detector."""

    def parameters(self) -> Iterator[Tensor]:
        """Yield its weights."""

    def __call__(self, images: Tensor) -> Scores:
        """Score prepared images."""


class Detector(Protocol):
    """What is used of a model of anomalib."""

    model: Network
    pre_processor: Callable[[Tensor], Tensor]

    def to(self, device: str) -> Detector:
        """Move the weights."""

    def train(self) -> Detector:
        """Set to training mode."""

    def eval(self) -> Detector:
        """Set to evaluation mode."""

    def training_step(self, batch: ImageBatch, number: int) -> object:
        """Look at normal images."""

    def fit(self) -> None:
        """Conclude from what was looked at."""


class Detectors:
    """The detector fitted last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fitted: Detector | None = None

    def build(self, detector: str, options: dict[str, object], size: list[int]) -> Detector:
        """Make a fresh detector without anomalib's scaling, metrics and pictures."""
        try:
            from anomalib import models
        except ImportError as error:
            raise Refused("import", str(error)) from error
        bank = models.components.MemoryBankMixin
        known = [key for key, kind in vars(models).items() if isinstance(kind, type) and issubclass(kind, bank)]
        if detector not in known:
            raise Refused("detector", f"expected one of {', '.join(sorted(known))}, got {detector}")
        kind = getattr(models, detector)
        without = dict.fromkeys(("post_processor", "evaluator", "visualizer"), False)
        seed()
        try:
            before = kind.configure_pre_processor(image_size=tuple(size))
            fresh: Detector = kind(**{**options, **without, "pre_processor": before})
        except Exception as error:  # whatever its arguments or a failed download lead to
            raise Refused("options", f"{detector} refuses: {error}") from error
        return fresh

    def fit(self, number: int, device: str, detector: str, options: dict[str, object], size: list[int]) -> None:
        """Show images to a fresh detector, which takes the place of an earlier one."""
        import torch
        from anomalib.data import ImageBatch

        self.fitted = None
        fresh = self.build(detector, options, size).to(device).train()
        seed()  # the projections and subsets that some detectors draw
        with torch.no_grad():
            for piece in self.images(number).to(device).split(PIECE):
                fresh.training_step(ImageBatch(image=fresh.pre_processor(piece)), 0)
            fresh.fit()
        self.fitted = fresh.eval()

    def score(self, number: int) -> None:
        """Score images as the detector's network does, before any scaling."""
        import numpy as np
        import torch

        fitted = self.fitted
        assert fitted is not None, "score comes after fit"
        images = self.images(number).to(next(fitted.model.parameters()).device)
        with torch.no_grad():
            found = fitted.model(fitted.pre_processor(images))
        if found.anomaly_map is None:
            raise Refused("detector", f"{type(fitted).__name__} gives no score maps")
        maps, scores = found.anomaly_map.squeeze(1), found.pred_score.reshape(len(images))  # some give (B, 1)
        there = self.folder / f"{number}.out.npz"
        np.savez(there, maps=maps.float().cpu().numpy(), scores=scores.float().cpu().numpy())

    def images(self, number: int) -> Tensor:
        """Read the images of a request, (B, 3, H, W) in [0, 1]."""
        import numpy as np
        import torch

        with np.load(self.folder / f"{number}.in.npz", allow_pickle=False) as file:
            return torch.from_numpy(file["images"])


def seed() -> None:
    """Give torch and NumPy, whose global state anomalib's projections use, the same random numbers each time."""
    import numpy as np
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


if __name__ == "__main__":
    main(Path(sys.argv[1]))
