"""What detectors and mixtures learn from, and from which other images their thresholds come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medzoo.adversarial.detectors import Seen
from medzoo.adversarial.detectors.seen import joined
from medzoo.adversarial.halves import halves
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
    experiment: Experiment, train: Seen, val: Seen, patients: Sequence[str], seed: int
) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Fit mixtures and detectors, and choose thresholds, each on images of its own.

    Mixtures and descriptions of normal images take the training part; detectors that learn from attacks take one half
    of the validation images that are right, attacked by plain BIM; thresholds take the other half, of other patients.

    Args:
        experiment: With mixtures and detectors that are not fitted.
        train: Images that the classifier was trained on.
        val: Others.
        patients: Whose each of these is; empty where nobody knows.
        seed: Of halves, goals and noise.

    Returns:
        States of detectors and of `mixtures` by name; thresholds of detectors and of the `constraint`.

    Raises:
        ConfigError: There are too few images that are right.
    """
    right = torch.nonzero(val.predicted == val.labels)[:, 0]
    val, own = val.at(right), [patients[place] for place in right.tolist()]
    first, second = halves(own, len(own) // 2, derive_seed(seed, 0))
    if min(len(first), len(second)) < 2:
        raise ConfigError(
            "--data: detectors need at least 4 validation images that are right, of two patients or more; "
            f"got {len(first)} and {len(second)} in halves that share no patient"
        )
    trial, apart = (val.at(rows.to(val.logits.device)) for rows in (first, second))
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
