"""Annotated images as a method keeps them, and the landmarks of each domain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_network
from medzoo.core.tasks.landmark_types import Domain
from medzoo.core.tasks.landmarks import landmark_columns

if TYPE_CHECKING:
    from medzoo.landmark.data.module import LandmarkDataModule

Domains = dict[str, list[str]]
"""Landmark names by domain, in the order of the domains' indices."""


class Shots(TypedDict):
    """Annotated images of one domain at network size."""

    image: Tensor
    """`(S, 1, H, W)` in [0, 1]."""
    points: Tensor
    """`(S, K, 2)` (x, y) in pixels of `image`; NaN where a landmark is missing."""


def standardise(image: Tensor) -> Tensor:
    """Bring each image of `(B, C, H, W)` to mean 0 and standard deviation 1."""
    mean, std = image.mean(dim=(1, 2, 3), keepdim=True), image.std(dim=(1, 2, 3), keepdim=True)
    return (image - mean) / (std + 1e-3)


def shots_of(data: LandmarkDataModule, who: str) -> list[Shots]:
    """Return the annotated images of each domain of a landmark data module at network size.

    Args:
        data: The data module.
        who: Name of the method, for the message.

    Returns:
        One a domain; none for a matcher that is trained before anything is annotated.

    Raises:
        ConfigError: Some domains have a shot and others have none.
    """
    groups = data.shots()
    if not any(groups):
        return []
    found: list[Shots] = []
    for domain, samples in zip(data.domains, groups, strict=True):
        if not samples:
            raise ConfigError(f"domain {domain.name} has no shot, and {who} needs one of each")
        image = torch.stack([s["image"] for s in samples])
        points = torch.stack([to_network(s["landmarks"][None], s["affine"][None])[0] for s in samples])
        found.append({"image": image, "points": points})
    return found


def is_shot(shot: object) -> bool:
    """Return whether a value is the annotated images of a domain: `(S, C, H, W)` and points `(S, K, 2)`."""
    image, points = (shot.get("image"), shot.get("points")) if isinstance(shot, dict) else (None, None)
    if not isinstance(image, Tensor) or not isinstance(points, Tensor):
        return False
    return image.ndim == 4 and points.ndim == 3 and len(image) == len(points) and points.shape[2] == 2


def place_of(name: str, names: Sequence[str]) -> int:
    """Return the index that a model gives to a domain of the data.

    Args:
        name: Of the domain.
        names: The domains that the model knows.

    Raises:
        ConfigError: It knows none of that name.
    """
    if name not in names:
        raise ConfigError(f"the model knows the domains {', '.join(names)}, not {name}; name it with --data.name")
    return list(names).index(name)


def check_order(known: Domains, domains: Iterable[Domain]) -> None:
    """Refuse to train on with data whose domains and landmarks are not those of the checkpoint, one by one.

    Args:
        known: Landmarks of the model.
        domains: Those of the data.

    Raises:
        ConfigError: There are other domains or landmarks, or the same in another order.
    """
    domains = list(domains)
    if domains and [domain.name for domain in domains] != list(known):
        given = ", ".join(domain.name for domain in domains)
        raise ConfigError(
            f"the model has the domains {', '.join(known)} in this order, the data {given}; give the same data, or "
            "start a training on these with --init_from"
        )
    for domain in domains:
        names = known.get(domain.name)
        if names and domain.landmarks and landmark_columns(names, domain) != list(range(len(names))):
            raise ConfigError(
                f"the landmarks of {domain.name} are not in the order of the checkpoint: {', '.join(names)}; "
                "put the data's into that order"
            )
