"""A trained model and some prompts, as a classifier of images from files or arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import read_image
from medzoo.core.io.listing import stem
from medzoo.core.values import Row
from medzoo.vlm.method import ImageTextMethod
from medzoo.vlm.scoring import Scorer
from medzoo.vlm.text.prompts import Prompts, from_preset
from medzoo.vlm.zero_shot.clip import ClipModel

Image = str | os.PathLike[str] | NDArray[np.float32]
"""A file, or grey levels `(H, W)` in [0, 1]; for a model that was trained on colour images `(3, H, W)` too."""


@dataclass(frozen=True)
class Scored:
    """What was found in one image.

    Attributes:
        id: Name of its file, or its number.
        path: Its file; empty for an array.
        logits: Of each class, by name.
        called: Whether each class is called, of those that the model has a threshold of from its validation images.
        maps: Where each class is seen, `(H, W)` in the pixels of the original; empty where not asked for.
        peaks: x and y of the middle of the patch where each map is highest, in pixels of the original.
    """

    id: str
    path: str
    logits: dict[str, float]
    called: dict[str, bool]
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    peaks: dict[str, tuple[float, float]] = field(default_factory=dict)

    def row(self) -> Row:
        """Return a row of a table with a column for each class."""
        return {
            "id": self.id,
            "path": self.path,
            **{f"logit_{name}": value for name, value in self.logits.items()},
            **{f"called_{name}": int(value) for name, value in self.called.items()},
            **{f"{axis}_{name}": peak[i] for name, peak in self.peaks.items() for i, axis in enumerate("xy")},
        }


class ZeroShotClassifier:
    """Scores images for classes that are named by sentences; each sentence is encoded once, when it is made.

    Example:
        model = load_checkpoint("runs/carzero/report-phantoms/0/checkpoints/last.ckpt")
        scored = ZeroShotClassifier(model, ["pleural effusion", "pneumothorax"]).predict(["chest.png"])

    Args:
        model: As `medzoo.core.load_checkpoint` returns it, or `medzoo.vlm.zero_shot.clip.load_clip`.
        prompts: The classes with their sentences; names alone become sentences by the preset of the model.
        batch: Images at a time; results do not depend on it.

    Raises:
        ConfigError: The model does not compare images with texts, or it cannot read a sentence.
    """

    def __init__(self, model: Any, prompts: Prompts | Sequence[str], batch: int = 16) -> None:
        if not isinstance(model, ImageTextMethod | ClipModel):
            kind = type(model).__name__
            raise ConfigError(f"{kind} does not compare images with texts; give a checkpoint of carzero or alike")
        if batch < 1:
            raise ConfigError(f"--batch: expected at least 1, got {batch}")
        self.model, self.batch = model.eval(), batch
        self.prompts = prompts if isinstance(prompts, Prompts) else from_preset(model.preset, list(prompts))
        with torch.no_grad():
            self._scorer = Scorer(model, self.prompts)
        same = _scored_alike(self.prompts, from_preset(model.preset, self.prompts.names))
        self._cuts = {name: cut for name, cut in model.cuts.items() if name in same}  # of other sentences not known
        hparams: Mapping[str, object] = model.hparams if isinstance(model, ImageTextMethod) else {}
        self._colour = hparams.get("channels") == 3

    def predict(self, images: Sequence[Image], maps: bool = False) -> list[Scored]:
        """Return what is found in images, in their order.

        Args:
            images: Files or arrays.
            maps: Also return where each class is seen.

        Raises:
            DataError: A file cannot be read, or has values outside of [0, 1].
        """
        return list(self.stream(images, maps))

    def stream(self, images: Sequence[Image], maps: bool = False) -> Iterator[Scored]:
        """Yield what `predict` returns, batch by batch."""
        for start in range(0, len(images), self.batch):
            chosen = images[start : start + self.batch]
            yield from self._scored(chosen, range(start, start + len(chosen)), maps)

    @torch.no_grad()
    def _scored(self, images: Sequence[Image], numbers: range, maps: bool) -> Iterator[Scored]:
        arrays = [read_pixels(image, self._colour) for image in images]
        processor, names = self.model.processor, self.prompts.names
        shape = (len(arrays), -1, *processor.size)
        batch = torch.from_numpy(np.stack([processor(array) for array in arrays]).reshape(shape))
        features = self.model.encode_image(batch.to(self.model.device))
        logits = self._scorer.scores(features)[0].double().cpu().tolist()
        seen = self._scorer.maps(features).float().cpu().numpy() if maps else None
        for place, (image, array, values) in enumerate(zip(images, arrays, logits, strict=True)):
            path = "" if isinstance(image, np.ndarray) else os.fspath(image)
            height, width = array.shape[-2:]
            pairs = dict(zip(names, values, strict=True))
            own = {} if seen is None else dict(zip(names, seen[place], strict=True))
            yield Scored(
                stem(Path(path)) if path else str(numbers[place]),
                path,
                pairs,
                {name: pairs[name] >= cut for name, cut in self._cuts.items()},
                {name: processor.original(found, width, height) for name, found in own.items()},
                {name: processor.peak(found, width, height) for name, found in own.items()},
            )


def _scored_alike(prompts: Prompts, usual: Prompts) -> set[str]:
    """Return the classes whose logits are made of the same sentences in the same way."""
    pair = usual.combine == "pair"
    made = {one.name: (one.positive, one.negative if pair else ()) for one in usual.classes}
    if prompts.combine != usual.combine:
        return set()
    return {one.name for one in prompts.classes if made[one.name] == (one.positive, one.negative if pair else ())}


def read_pixels(image: Image, colour: bool = False) -> NDArray[np.float32]:
    """Return grey levels `(H, W)` in [0, 1], or of a colour image `(3, H, W)`.

    Raises:
        DataError: A file cannot be read or is a volume, or values lie outside of [0, 1].
    """
    path = "array" if isinstance(image, np.ndarray) else os.fspath(image)
    if isinstance(image, np.ndarray):
        array = np.asarray(image, np.float32)
        array = np.stack([array] * 3) if colour and array.ndim == 2 else array
    else:
        array = read_image(image, "rgb" if colour else "grey").array
    if array.ndim != 2 + colour:
        kind = "colour" if colour else "grey"
        raise DataError(path, f"has {array.ndim} axes, expected a {kind} image", "give one image, such as a PNG")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        problem = f"has values from {low:g} to {high:g}, expected a radiograph with values in [0, 1]"
        raise DataError(path, problem, "choose a window and export it as PNG")
    return array


def overlay(image: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image `(H, W)` with a map of its size over it, `(3, H, W)` in [0, 1]; the map's peak is brightest."""
    from matplotlib import colormaps

    top = float(found.max())
    share = np.clip(found / top, 0, 1) if top > 0 else np.zeros_like(found)
    colour = np.moveaxis(colormaps["inferno"](share)[..., :3], -1, 0)
    mixed: NDArray[np.float32] = (image * (1 - 0.6 * share) + 0.6 * share * colour).astype(np.float32)
    return mixed
