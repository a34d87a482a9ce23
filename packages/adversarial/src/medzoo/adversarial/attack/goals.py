"""What an attack is after, by the task of the model: which output it moves, and away from what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from medzoo.adversarial.engine import AnomalyScore, CrossEntropy, LandmarkDistance, Loss, MultiLabelBCE
from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_network
from medzoo.core.sample import Batch
from medzoo.core.tasks.anomaly import AnomalyOutputs
from medzoo.core.tasks.classification import ClassificationOutputs, model_labels
from medzoo.core.tasks.landmark_types import Domain, LandmarkOutputs
from medzoo.core.tasks.landmarks import landmark_columns
from medzoo.core.tasks.lesions import LesionOutputs

_SHARP = 20.0  # maps in [0, 1] have no logits' spread


@dataclass(frozen=True)
class Aim:
    """What an attack of one batch is after.

    Attributes:
        pick: Takes the tensor that the attack moves from the outputs, a row an image.
        loss: How far it is from `goal`.
        goal: The truth, which an untargeted attack leaves; a row an image.
    """

    pick: Callable[[Any], Tensor]
    loss: Loss
    goal: Tensor


@dataclass(frozen=True)
class Setting:
    """What an aim needs to know beside outputs and batch.

    Attributes:
        tolerance: Distance up to which a landmark counts as found, in pixels of the network's image.
        domains: Those of landmark data.
        classes: Those of classification data, in the order of the labels' numbers; empty where they are the model's.
    """

    tolerance: float
    domains: Sequence[Domain] = ()
    classes: Sequence[str] = ()


@singledispatch
def aim_at(outputs: object, batch: Batch, setting: Setting) -> Aim:
    """Return what an untargeted attack is after.

    Args:
        outputs: Those of the clean batch.
        batch: With its labels.
        setting: What else is known.

    Raises:
        ConfigError: Nobody knows how to attack outputs of this kind, or the batch has no labels.
    """
    del batch, setting
    raise ConfigError(f"medzoo attack knows no aim for {type(outputs).__name__}; register one with aim_at.register")


@aim_at.register
def _landmarks(outputs: LandmarkOutputs, batch: Batch, setting: Setting) -> Aim:
    """All landmarks away from where they are."""
    order = landmark_columns(outputs.landmarks, setting.domains[int(batch["domain"][0])])
    maps = outputs.maps.detach()[:, order]
    share = maps.shape[-1] / batch["image"].shape[-1]
    true = to_network(_label(batch, "landmarks"), batch["affine"])
    true = ((true + 0.5) * share - 0.5).to(maps.device)
    last = maps.new_tensor([maps.shape[-1], maps.shape[-2]]) - 0.5
    outside = ((true < -0.5) | (true > last)).any(dim=2, keepdim=True)
    probabilities = bool(maps.min() >= 0) and bool(maps.max() <= 1)
    loss = LandmarkDistance(setting.tolerance * share, _SHARP if probabilities else 1.0)
    return Aim(lambda found: found.maps[:, order], loss, true.masked_fill(outside, torch.nan))


@aim_at.register
def _classes(outputs: ClassificationOutputs, batch: Batch, setting: Setting) -> Aim:
    """Images to another class than theirs; of several labels, to other labels."""
    loss: Loss = MultiLabelBCE() if outputs.multi_label else CrossEntropy()
    truth = _label(batch, "label")
    goal = model_labels(truth, outputs, setting.classes or outputs.classes, truth.ndim == 2)
    return Aim(lambda found: found.logits, loss, goal)


@aim_at.register
def _images(outputs: AnomalyOutputs, batch: Batch, setting: Setting) -> Aim:
    """Abnormal images below the threshold, normal ones above it."""
    del setting
    goal = (_label(batch, "label") != 0).long()
    return Aim(lambda found: found.scores, AnomalyScore(outputs.threshold), goal)


@aim_at.register
def _volumes(outputs: LesionOutputs, batch: Batch, setting: Setting) -> Aim:
    """A volume with lesions below the threshold everywhere, one without above it somewhere."""
    del setting
    goal = torch.tensor([int((mask != 0).any()) for mask in _label(batch, "mask")])
    return Aim(lambda found: found.score[None], AnomalyScore(outputs.threshold), goal)


def _label(batch: Batch, key: str) -> Any:
    if key not in batch:
        raise ConfigError(f"the test images have no {key!r}, and an attack needs to know the truth; give labelled ones")
    return batch[key]
