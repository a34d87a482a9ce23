"""Abnormal images that are labelled in the training and taken out of the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medzoo.anomaly.data.items import Category, Item
from medzoo.core.errors import ConfigError


def known_abnormal(
    category: Category, count: int, kinds: Sequence[str] | None, seed: tuple[int, ...]
) -> tuple[Item, ...]:
    """Draw abnormal images of a category.

    Args:
        category: With all its images to test on.
        count: How many.
        kinds: Of these kinds; None or empty: of the first one by name.
        seed: Of the draw.

    Raises:
        ConfigError: There are fewer.
    """
    if not count:
        return ()
    kinds = kinds or sorted({item.kind for item in category.test if item.label})[:1]
    found = [item for item in category.test if item.label and item.kind in kinds]
    if len(found) < count:
        raise ConfigError(
            f"--data.known: {category.name} has {len(found)} abnormal images of {', '.join(kinds) or 'any kind'} to "
            f"test on, not {count}; ask for fewer, or name other --data.known_kinds"
        )
    order = np.random.default_rng(seed).permutation(len(found))
    return tuple(found[i] for i in sorted(order[:count]))


def without(category: Category, known: Sequence[Item]) -> Category:
    """Return a category whose test holds neither some images nor others of their patients."""
    patients = {item.patient for item in known if item.patient}
    test = (item for item in category.test if item not in known and item.patient not in patients)
    return replace(category, test=tuple(test)) if known else category
