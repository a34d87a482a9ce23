"""The task of finding landmarks: what models give, errors by domain in original geometry, a row an image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medzoo.core.distributed import gather_all, print_once
from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_original
from medzoo.core.metrics import LandmarkMetrics, landmark_scores, radial_errors
from medzoo.core.names import listed
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, identity
from medzoo.core.tasks.landmark_report import Tested, write_report
from medzoo.core.tasks.landmark_types import Domain, LandmarkOutputs, Picture, Seen
from medzoo.core.values import Row

_KEPT = 64


class LandmarkEvaluation(Evaluation[LandmarkOutputs]):
    """Collects the errors of a test, domain by domain, and a few images for the figures.

    Args:
        domains: Domains of the data that is tested on.
        device: Where batches are.
        observers: Of domains with two annotators, the distances `(N, K)` between them on the test images.
        baselines: Returns further figures by name, such as those of copying an annotated image's points.
        picture: Reads images for figures; None draws no overlays.
        weights: What the table says of the weights that were tested.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        device: torch.device | None = None,
        observers: Mapping[str, Tensor] | None = None,
        baselines: Callable[[], Mapping[str, float]] | None = None,
        picture: Picture | None = None,
        weights: str = "",
    ) -> None:
        self.domains = list(domains)
        self.observers = dict(observers or {})
        self.baselines, self.picture, self.weights = baselines, picture, weights
        self.metrics = [LandmarkMetrics(d.thresholds, d.unit, d.landmarks).to(device or "cpu") for d in domains]
        self.cases: list[list[Seen]] = [[] for _ in domains]
        self.tested: list[Row] = []
        self.errors: list[Tensor] = []
        """Of each domain, `(N, K)` over all processes, once computed."""
        self.scores: list[Tensor] = []
        """How sure the model was of the same points."""

    def update(self, batch: Batch, outputs: LandmarkOutputs) -> None:
        """Add a test batch of one domain, see `medzoo.core.sample.LandmarkSample`.

        Raises:
            ConfigError: The data have a landmark that the model does not find.
        """
        index = int(batch["domain"][0])
        order = landmark_columns(outputs.landmarks, self.domains[index])
        points, score = outputs.points.detach()[:, order], outputs.scores.detach()[:, order]
        predicted = to_original(points, batch["affine"])
        target, visible, scale = batch["landmarks"].double(), batch["visible"], batch["scale"].double()
        self.metrics[index].update(predicted, target, visible, scale, score)
        errors = radial_errors(predicted, target, visible, scale)
        means = torch.where(errors.isinf(), torch.nan, errors).nanmean(dim=1)
        means = torch.where(means.isnan() & errors.isinf().any(dim=1), torch.inf, means)
        worst = errors.nan_to_num(nan=-1.0, posinf=torch.inf).amax(dim=1)
        for i, name in enumerate(batch["id"]):
            self.tested.append(
                {
                    **identity(batch, i, self.domains[index].name),
                    "error": float(means[i]),
                    "worst": float(worst[i]),
                    "unit": self.domains[index].unit,
                    "not_found": int((~predicted[i].isfinite().all(dim=1) & visible[i]).sum()),
                    "score": float(score[i].float().mean()),
                    "prediction": json.dumps([[round(v, 3) for v in point] for point in predicted[i].tolist()]),
                }
            )
            if len(self.cases[index]) < _KEPT:
                found, truth, known = (t[i].cpu().numpy() for t in (predicted, target, visible))
                self.cases[index].append(Seen(name, found, truth, known, float(means[i])))

    def compute(self) -> dict[str, Tensor]:
        """Return `<domain>/<metric>` of every domain that was tested, see `medzoo.core.metrics.landmark_scores`.

        `<domain>/score_spearman` is the rank correlation of score and error over all points: −1 where the score ranks
        the points by their error, 0 where it says nothing. `<domain>/observers/<metric>` compares the two annotators of
        a domain as if one were a model. To be called on every process.
        """
        both = [metric.errors_and_scores() for metric in self.metrics]
        self.errors, self.scores = [errors.cpu() for errors, _ in both], [scores.cpu() for _, scores in both]
        self.tested = gather_all(self.tested)
        found: dict[str, Tensor] = {}
        for i, domain in enumerate(self.domains):
            if self.errors[i].isnan().all():
                continue
            found |= {f"{domain.name}/{name}": value.float() for name, value in self.metrics[i].compute().items()}
            if domain.name in self.observers:
                between = landmark_scores(self.observers[domain.name], domain.thresholds, domain.unit)
                found |= {f"{domain.name}/observers/{name}": value.float() for name, value in between.items()}
        if self.baselines is not None:
            found |= {name: torch.tensor(value) for name, value in self.baselines().items()}
        return found

    def rows(self) -> list[Row]:
        """Return a row an image: mean and largest error, points that were not found, mean score, points in pixels."""
        return self.tested

    def print_gaps(self) -> None:
        """After `compute`, name the images of which points were not found, or whose scores are not finite."""
        for domain in self.domains:
            own = [row for row in self.tested if row["source"] == domain.name]
            lost = [str(row["id"]) for row in own if row["not_found"]]
            print_gaps(domain.name, len(own), lost, [str(row["id"]) for row in own if not np.isfinite(row["score"])])

    def report(self, folder: Path) -> None:
        """Write `samples.csv`, `table.md`, `landmarks.csv` and `figures/`."""
        super().report(folder)
        tested = Tested(self.domains, self.errors, self.scores, self.cases, self.observers, self.picture, self.weights)
        write_report(tested, folder)


def landmark_columns(known: Sequence[str], domain: Domain) -> list[int]:
    """Return, for each landmark of a domain of the data, which of the model's it is.

    Landmarks are known by name, so that data may have them in another order or lack some. Where names are numbers, on
    either side, the number of landmarks must be the same and the order counts.

    Args:
        known: Names of the landmarks that the model finds.
        domain: The domain of the data.

    Raises:
        ConfigError: The data have a landmark that the model does not find.
    """
    known = list(known)
    if set(domain.landmarks) <= set(known):
        return [known.index(name) for name in domain.landmarks]
    if len(domain.landmarks) != len(known):
        raise ConfigError(
            f"the model finds {len(known)} landmarks of {domain.name}, the data have {len(domain.landmarks)}; "
            f"label those of the model ({', '.join(known)}), or train one on these"
        )
    if not all(name.isdigit() for name in domain.landmarks) and not all(name.isdigit() for name in known):
        stray = next(name for name in domain.landmarks if name not in known)
        raise ConfigError(
            f"the data have a landmark {stray!r} of {domain.name}, the model finds {', '.join(known)}; rename it"
        )
    return list(range(len(known)))


def print_gaps(domain: str, count: int, unfound: Sequence[str], unsure: Sequence[str]) -> None:
    """Name the images of which a model found not every point, or gave a score that is not finite.

    Args:
        domain: Name of the domain.
        count: Images that were looked at.
        unfound: Names of those with a point that was not found.
        unsure: Names of those with a score that is NaN or infinite.
    """
    for what, names in (("a point was not found", unfound), ("a score is not finite", unsure)):
        if names:
            print_once(f"{domain}: {what} in {len(names)} of {count} images: {listed(names)}")
