"""What a graph gives for each task: named tensors in the geometry of the original images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medzoo.core.export.resize import enlarge
from medzoo.core.method import Method

Back = Callable[[Tensor], Tensor]
"""Takes points `(B, K, 2)` from network pixels to those of the originals."""


@dataclass(frozen=True)
class Answer:
    """How the outputs of a task become those of a graph.

    Attributes:
        channels: Of the images that the model takes.
        tensors: Makes them of the task's outputs, the images, and the way back to original pixels.
        facts: What else has to be known of them: names, thresholds.
        texts: What each tensor is.
        tolerance: Difference from medzoo that each may have, and in what.
    """

    channels: Callable[[Method], int]
    tensors: Callable[[Any, Tensor, Back], dict[str, Tensor]]
    facts: Callable[[Any], dict[str, Any]]
    texts: Mapping[str, str]
    tolerance: Mapping[str, float]


def _landmarks(outputs: Any, image: Tensor, back: Back) -> dict[str, Tensor]:
    return {"points": back(outputs.points).float(), "scores": outputs.scores.float(), "maps": outputs.maps.float()}


def _anomaly(outputs: Any, image: Tensor, back: Back) -> dict[str, Tensor]:
    found = {"scores": outputs.scores, "maps": enlarge(outputs.maps, image)}
    return found if math.isnan(outputs.threshold) else {**found, "abnormal": outputs.scores > outputs.threshold}


def _classes(outputs: Any, image: Tensor, back: Back) -> dict[str, Tensor]:
    return {"probabilities": outputs.probabilities, "logits": outputs.logits}


def _class_facts(outputs: Any) -> dict[str, Any]:
    rule = {"threshold": 0.5} if outputs.multi_label else {}
    return {"classes": list(outputs.classes), "multi_label": outputs.multi_label, **rule}


ANSWERS: dict[str, Answer] = {
    "landmark detection": Answer(
        channels=lambda model: 1,
        tensors=_landmarks,
        facts=lambda outputs: {"landmarks": list(outputs.landmarks)},
        texts={
            "points": "(batch, landmark, 2) x and y in pixels of the image given, 0 at the centre of the first pixel",
            "scores": "(batch, landmark) larger where the model is surer",
            "maps": "(batch, landmark, rows, columns) that points are read from, at the size of the network",
        },
        tolerance={"points": 0.01, "scores": 1e-5, "maps": 1e-5},
    ),
    "anomaly detection": Answer(
        channels=lambda model: 3,
        tensors=_anomaly,
        facts=lambda outputs: {"threshold": None if math.isnan(outputs.threshold) else outputs.threshold},
        texts={
            "scores": "(batch) larger is more abnormal",
            "maps": "(batch, height, width) likewise, at the size of the image given",
            "abnormal": "(batch) whether the score is above the threshold",
        },
        tolerance={"scores": 1e-5, "maps": 1e-5},
    ),
    "classification": Answer(
        channels=lambda model: int(model.hparams.get("channels") or 1),
        tensors=_classes,
        facts=_class_facts,
        texts={
            "probabilities": "(batch, class) of exclusive classes with sum 1, of several labels each for itself",
            "logits": "(batch, class) before softmax or sigmoid",
        },
        tolerance={"probabilities": 1e-5, "logits": 1e-5},
    ),
}
"""By task; models of other tasks are not exported."""


def flips(name: str, ours: Tensor, theirs: Tensor, facts: Mapping[str, Any]) -> int:
    """Return how many answers that are yes or no, or one of several classes, differ."""
    if name == "abnormal":
        return int((ours != theirs).sum())
    if name == "probabilities":
        if facts["multi_label"]:
            return int(((ours >= facts["threshold"]) != (theirs >= facts["threshold"])).sum())
        return int((ours.argmax(1) != theirs.argmax(1)).sum())
    return 0


def distance(name: str, ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference: of points in pixels, of all else by the largest value where that is above 1."""
    if not ours.is_floating_point():
        return 0.0
    if bool((ours.isnan() != theirs.isnan()).any()):
        return math.inf
    ours, theirs = ours.double().nan_to_num(0.0), theirs.double().nan_to_num(0.0)
    if name == "points":
        return float(torch.linalg.vector_norm(ours - theirs, dim=-1).max())
    return float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1))  # rounding goes with the range of a map
