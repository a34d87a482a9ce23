"""Images to learn from and images for thresholds are of different patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from medzoo.adversarial.detectors import KernelDensity, Mixtures, Seen, Watched
from medzoo.adversarial.halves import halves
from medzoo.adversarial.hfc.learning import learn
from medzoo.adversarial.hfc.trials import Experiment, Plan
from medzoo.core.errors import ConfigError


def test_no_patient_is_in_both_halves_and_no_image_is_lost() -> None:
    patients = [f"p{i // 3}" for i in range(30)] + ["", ""]
    first, second = halves(patients, 16, 0)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(32))
    named = [{patients[i] for i in rows.tolist()} - {""} for rows in (first, second)]
    assert not named[0] & named[1]
    assert 16 <= len(first) <= 18
    assert torch.equal(first, halves(patients, 16, 0)[0])
    assert not torch.equal(first, halves(patients, 16, 1)[0])


def test_images_of_as_many_patients_are_divided_in_random_order() -> None:
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5))
    for patients in ([f"p{i}" for i in range(9)], [""] * 9):
        first, second = halves(patients, 4, 5)
        assert torch.equal(torch.cat([first, second]), order)
        assert len(first) == 4


def test_thresholds_of_detectors_come_from_other_patients_than_they_learnt_from(
    trained: Any, bars: Callable[[int, int], tuple[Tensor, Tensor]]
) -> None:
    watched = Watched(trained.network, trained.network)
    train, val = (watched.look_at(*bars(count, seed)) for count, seed in ((60, 1), (24, 2)))
    patients = [f"p{i // 4}" for i in range(24)]
    whose = {float(image.sum()): name for image, name in zip(val.images, patients, strict=True)}
    seen: dict[str, set[str]] = {}

    class Noting(KernelDensity):
        def fit(self, train: Seen, normal: Seen, attacked: Seen) -> None:
            seen["fit"] = {whose[s] for s in (float(i.sum()) for i in normal.images) if s in whose}
            super().fit(train, normal, attacked)

        def score(self, given: Seen) -> Tensor:
            seen["limits"] = {whose[s] for s in (float(i.sum()) for i in given.images) if s in whose}
            return super().score(given)

    experiment = Experiment(
        watched, Mixtures([0], covariance="shrunk"), {"kd": Noting()}, Plan(8 / 255, 2, 2, 1.0), 20.0
    )
    learn(experiment, train, val, patients, 0)
    assert len(seen["fit"]) >= 2
    assert len(seen["limits"]) >= 2
    assert not seen["fit"] & seen["limits"]
    with pytest.raises(ConfigError, match=r"of two patients or more; got \d+ and 0 in halves"):
        learn(experiment, train, val, ["one"] * 24, 0)
