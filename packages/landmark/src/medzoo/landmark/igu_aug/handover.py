"""What round 1 hands to round 2: intensities estimated on reference images, as a file that one can read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import read_json, write_json
from medzoo.core.sample import collate
from medzoo.landmark.igu_aug.information import entropy_map
from medzoo.landmark.igu_aug.intensity import Search, estimate
from medzoo.landmark.igu_aug.sampling import CLASSES, OPERATORS, Intervals, classify

if TYPE_CHECKING:
    from medzoo.landmark.igu_aug.module import IGUAug


_Intensities = dict[str, dict[str, tuple[float, float]]]
"""Of a domain: by class of pixels and operator, smallest and largest."""


def write_intensities(method: IGUAug, path: Path) -> None:
    """Estimate the intensities of each domain, and write them on the first process.

    Args:
        method: With the trainer attached.
        path: The file.

    Raises:
        ConfigError: No pixel of a domain is of some class, or it has fewer than two images.
    """
    h = method.hparams
    images, entropies = references(method, h["references"])
    if not method.trainer.is_global_zero:
        return
    search = Search(h["mi"], (h["medium"], h["high"]), h["radius"], h["mi_side"])
    content: dict[str, dict[str, object]] = {}
    for domain, name in enumerate(method.names):
        try:
            intervals, means = estimate(images[domain], partial(_match, method, domain), search, entropies[domain])
        except ValueError as error:
            raise ConfigError(f"--model.medium: {name}: {error}; give a smaller one") from error
        content[name] = {**intervals, "information": means}
        if method.shots:
            entropy, points = _shot_entropy(method, domain), method.shots[domain]["points"]
            content[name]["calibration"] = calibration(entropy, points, method.sampler().borders)
    write_json(path, {"schema": 1, "factors": "smallest and largest", "mi": h["mi"], "domains": content})


def _match(method: IGUAug, domain: int, image: Tensor, points: Tensor, others: Tensor) -> Tensor:
    """Find points `(1, K, 2)` of an image in others, see `intensity.Find`."""
    assert method.embedder is not None
    return method.cascade.find(method.embedder, {"image": image, "points": points}, others, domain).points


def _shot_entropy(method: IGUAug, domain: int) -> Tensor:
    """Return the entropy of the shots of a domain, `(S, H, W)` in bits."""
    if method.originals is None:
        return entropy_map(method.shots[domain]["image"], method.hparams["radius"])
    return method.originals(method.data.sources[domain].images, collate(method.data.shots()[domain]))


def calibration(entropy: Tensor, points: Tensor, borders: tuple[float, float]) -> str:
    """Describe how the pixels of shots fall into the classes, and the entropy at their landmarks.

    Args:
        entropy: `(S, H, W)` in bits.
        points: `(S, K, 2)` in pixels, NaN where missing.
        borders: Entropy from which a pixel is of the medium and of the high class.
    """
    share = torch.bincount(classify(entropy, borders).flatten(), minlength=3) / entropy.numel()
    at = torch.nan_to_num(points).round().long()
    which = torch.arange(len(entropy))[:, None], at[..., 1].clamp(0, entropy.shape[1] - 1)
    landmarks = entropy[(*which, at[..., 0].clamp(0, entropy.shape[2] - 1))][~points.isnan().any(dim=-1)]
    parts = ", ".join(f"{100 * s:.0f} % {c}" for s, c in zip(share.tolist(), CLASSES, strict=True))
    return f"pixels of {parts} entropy; landmarks at {landmarks.mean():.1f} bits, least {landmarks.min():.1f}"


def references(method: IGUAug, wanted: int) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return the first training images of each domain, `(N, 1, H, W)`, and the entropy of their originals.

    Args:
        method: With the trainer attached.
        wanted: Images of each domain.

    Raises:
        ConfigError: A domain has fewer than two.
    """
    device = method.trainer.strategy.root_device
    method.to(device)
    images: list[list[Tensor]] = [[] for _ in method.names]
    entropies: list[list[Tensor]] = [[] for _ in method.names]
    for batch in method.data.unlabelled_loader():
        domain = int(batch["domain"][0])
        lacking = wanted - len(images[domain])
        images[domain] += batch["image"][:lacking]
        if method.originals is not None and lacking:
            entropies[domain] += method.originals(method.data.sources[domain].images, batch)[:lacking]
        if all(len(taken) == wanted for taken in images):
            break
    for name, taken in zip(method.names, images, strict=True):
        if len(taken) < 2:
            raise ConfigError(f"domain {name}: expected 2 training images or more to compare, got {len(taken)}")
    maps = [torch.stack(one).to(device) if one else None for one in entropies]
    return [torch.stack(taken).to(device) for taken in images], maps


def read_intervals(path: str | Path, domains: list[str]) -> dict[str, Intervals]:
    """Read the intensities of each domain.

    Raises:
        DataError: The file is missing, no JSON, or lacks a domain, class or operator.
    """
    content = cast(dict[str, dict[str, _Intensities]], read_json(path))  # what it is not, raises below
    try:
        return {name: _intervals(content["domains"][name]) for name in domains}
    except (KeyError, TypeError, ValueError) as error:
        problem = f"is no file of intensities for {', '.join(domains)} ({error!r})"
        raise DataError(path, problem, "give the one that round1 wrote") from error


def _intervals(content: _Intensities) -> Intervals:
    found: Intervals = {}
    for kind in CLASSES:
        found[kind] = {}
        for name in OPERATORS:
            low, high = (float(value) for value in content[kind][name])
            found[kind][name] = (low, high)
    return found
