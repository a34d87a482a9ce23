"""What detectors and mixtures learn from, and from which other images their thresholds come."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.adversarial.detectors import Seen
from medzoo.adversarial.detectors.seen import joined
from medzoo.adversarial.hfc.report import FALSE_ALARMS
from medzoo.adversarial.hfc.trials import Experiment, noisy
from medzoo.adversarial.targets import other_classes
from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError
from medzoo.core.metrics.segmentation import quantile_threshold
from medzoo.core.seeding import derive_seed

NOISE = 2 / 255
"""Benign noise that detectors must let pass, in image units."""


def learn(
    experiment: Experiment, train: Seen, val: Seen, seed: int
) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Fit mixtures and detectors, and choose thresholds, each on images of its own.

    Mixtures and descriptions of normal images take the training part; detectors that learn from attacks take one half
    of the validation images that are right, attacked by plain BIM; thresholds take the other half.

    Args:
        experiment: With mixtures and detectors that are not fitted.
        train: Images that the classifier was trained on.
        val: Others.
        seed: Of halves, goals and noise.

    Returns:
        States of detectors and of `mixtures` by name; thresholds of detectors and of the `constraint`.

    Raises:
        ConfigError: There are too few images that are right.
    """
    val = val.at(val.predicted == val.labels)
    half = len(val) // 2
    if half < 2:
        raise ConfigError(f"--data: detectors need at least 4 validation images that are right, got {len(val)}")
    order = torch.randperm(len(val), generator=torch.Generator().manual_seed(derive_seed(seed, 0)))
    trial, apart = val.at(order[:half]), val.at(order[half:])
    generator = torch.Generator().manual_seed(derive_seed(seed, 1))
    experiment.mixtures.fit(train)
    detectors, experiment.detectors = experiment.detectors, {}  # they are not fitted yet
    goal = other_classes(trial.labels, trial.logits.shape[1], generator)
    bim = experiment.run("bim", False, trial, goal, generator)
    taken = bim.success
    if not bool(taken.any()):
        print_once("BIM leads no validation image to another class: detectors learn from what it made all the same")
        taken = ~taken
    noise = experiment.watched.look_at(noisy(trial.images, NOISE, generator), trial.labels)
    for detector in detectors.values():
        detector.fit(train, joined([trial, noise]), bim.seen.at(taken))
    experiment.detectors = detectors
    learned = {name: dict(detector.state) for name, detector in detectors.items()}
    scores = experiment.scores(apart)
    scores["constraint"] = experiment.mixtures.distances(apart, apart.labels).sum(dim=1)
    limits = {name: quantile_threshold(value, FALSE_ALARMS) for name, value in scores.items()}
    return learned | {"mixtures": dict(experiment.mixtures.state)}, limits
