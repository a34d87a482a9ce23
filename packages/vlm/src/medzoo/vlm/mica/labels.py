"""Labels as concepts and diagnoses, and captions made of concepts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.vlm.images import ImageFeatures
from medzoo.vlm.text.prompts import spoken

NOTHING = "normal"
"""Caption of an image without a concept."""


def caption(names: Sequence[str], present: Sequence[float]) -> str:
    """Return the names of the concepts that are there, with commas between them (MICA, section 3.1).

    Args:
        names: Of the concepts.
        present: 1 for each that is there; 0 or NaN otherwise.
    """
    return ", ".join(spoken(name) for name, value in zip(names, present, strict=True) if value == 1) or NOTHING


def captioned(image: ImageFeatures, labels: Tensor) -> tuple[ImageFeatures, Tensor]:
    """Return features and labels of the images that a caption can be given: «normal» needs all to be looked for.

    Args:
        image: Of B images.
        labels: `(B, K)` of 0, 1 and NaN.
    """
    told = (labels == 1).any(1) | ~labels.isnan().any(1)
    return ImageFeatures(image.globals[told], image.tokens[told], image.grid), labels[told]


def known_labels(data: object, diagnoses: Sequence[str] | None) -> list[str]:
    """Return the labels of data that are concepts: all but the diagnoses.

    Raises:
        ConfigError: The data have no labels that may hold together, or none of a diagnosis' name, or no concept.
    """
    classes = tuple(getattr(data, "classes", ()))
    if not classes or not getattr(data, "multi_label", False):
        raise ConfigError(f"--data: {type(data).__name__} has no labels that may hold together, as concepts do")
    for name in diagnoses or ():
        if name not in classes:
            raise ConfigError(f"--model.diagnoses: the data have no label {name!r}, only {', '.join(classes)}")
    concepts = [name for name in classes if name not in (diagnoses or ())]
    if not concepts:
        raise ConfigError("--model.diagnoses: all labels of the data are diagnoses; leave some as concepts")
    return concepts


def part(label: Tensor, classes: Sequence[str], chosen: Sequence[str]) -> Tensor:
    """Return the columns `(B, len(chosen))` of labels by their names, NaN where the data have no such label.

    Args:
        label: `(B, len(classes))`.
        classes: Names of its columns.
        chosen: Names of the columns that are wanted.
    """
    places = {name: place for place, name in enumerate(classes)}
    unknown = torch.full_like(label[:, 0], torch.nan)
    return torch.stack([label[:, places[name]] if name in places else unknown for name in chosen], 1)
