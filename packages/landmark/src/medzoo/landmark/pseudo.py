"""Pseudo labels: the file that one stage hands to the next, an entry for each training image, in original pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import torch
from torch import Tensor

from medzoo.core.distributed import from_all
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import read_json, write_json

if TYPE_CHECKING:
    from medzoo.landmark.data.module import LandmarkDataModule

_SCHEMA = 1


class _Entry(TypedDict):
    points: dict[str, tuple[float, float]]
    score: dict[str, float]


class _Written(TypedDict):
    """The file."""

    schema: int
    landmarks: dict[str, list[str]]
    images: dict[str, dict[str, _Entry]]


@dataclass
class PseudoLabels:
    """Points `(K, 2)` in original pixels and scores `(K,)` of training images, by domain and image name."""

    names: dict[str, list[str]]
    """Landmark names of each domain."""
    points: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def add(self, domain: str, ids: Sequence[str], points: Tensor, scores: Tensor) -> None:
        """Add a batch: points `(B, K, 2)` and scores `(B, K)`."""
        for identity, p, s in zip(ids, points.cpu(), scores.cpu(), strict=True):
            self.points.setdefault(domain, {})[identity] = p.double()
            self.scores.setdefault(domain, {})[identity] = s.float()

    def look_up(self, domain: str, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return points `(B, K, 2)`, float64, and scores `(B, K)` of some images.

        Raises:
            KeyError: There is no label for an image.
        """
        points, scores = self.points[domain], self.scores[domain]
        return torch.stack([points[i] for i in ids]), torch.stack([scores[i] for i in ids])

    def missing(self, domain: str, ids: Sequence[str]) -> list[str]:
        """Return those of some images that have no label."""
        known = self.points.get(domain, {})
        return [i for i in ids if i not in known]

    def gathered(self) -> PseudoLabels:
        """Return the labels of all processes; to be called on each of them."""
        for points, scores in from_all((self.points, self.scores)):
            for domain in points:
                self.points.setdefault(domain, {}).update(points[domain])
                self.scores.setdefault(domain, {}).update(scores[domain])
        return self

    def write(self, path: Path, source: Mapping[str, object]) -> None:
        """Write the file, with what it came from."""
        images = {
            domain: {
                identity: {
                    "points": dict(zip(self.names[domain], p.tolist(), strict=True)),
                    "score": dict(zip(self.names[domain], self.scores[domain][identity].tolist(), strict=True)),
                }
                for identity, p in by_id.items()
            }
            for domain, by_id in self.points.items()
        }
        content = {"schema": _SCHEMA, "coordinates": "x, y in original pixels", "source": dict(source)}
        write_json(path, {**content, "landmarks": self.names, "images": images})

    @classmethod
    def read(cls, path: str | Path) -> PseudoLabels:
        """Read the file.

        Raises:
            DataError: It is missing, no JSON, or not such a file.
        """
        content = cast(_Written, read_json(path))  # what it is not, raises below
        try:
            if content["schema"] != _SCHEMA:
                raise DataError(path, f"has schema {content['schema']}, expected {_SCHEMA}", "run stage1 again")
            labels = cls({domain: list(names) for domain, names in content["landmarks"].items()})
            for domain, images in content["images"].items():
                names = labels.names[domain]
                for identity, entry in images.items():
                    points = torch.tensor([entry["points"][n] for n in names], dtype=torch.float64).reshape(-1, 2)
                    scores = torch.tensor([entry["score"][n] for n in names], dtype=torch.float32)
                    labels.add(domain, [identity], points[None], scores[None])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                path, f"is no file of pseudo labels ({error!r})", "give the one that stage1 wrote"
            ) from error
        return labels

    @classmethod
    def of_training_images(cls, path: str | Path | None, data: LandmarkDataModule) -> PseudoLabels:
        """Read the labels of all training images of a landmark data module.

        Raises:
            ConfigError: No file is named.
            DataError: It cannot be read, or an image has no label.
        """
        if path is None:
            raise ConfigError("stage2 needs --model.pseudo_labels FILE, which stage1 writes")
        labels = cls.read(path)
        for source in data.sources:
            lost = labels.missing(source.domain.name, source.split.train)
            if lost:
                raise DataError(path, f"has no label for {lost[0]} of {source.domain.name}", "run stage1 again")
        return labels
