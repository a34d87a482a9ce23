"""Thresholds of a checkpoint, one for each category that it knows."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.core.runs.schema import check_field


def kept_thresholds(checkpoint: Mapping[str, object], beside: str) -> dict[str, float]:
    """Return the thresholds of a checkpoint by category.

    Args:
        checkpoint: What was saved.
        beside: Its entry, checked already, whose names the thresholds have.

    Raises:
        CheckpointError: They are not one number for each of those names.
    """
    thresholds, names = checkpoint.get("thresholds"), checkpoint[beside]
    assert isinstance(names, dict)
    whole = isinstance(thresholds, dict) and set(thresholds) == set(names)
    numbers = isinstance(thresholds, dict) and all(isinstance(value, float) for value in thresholds.values())
    check_field("thresholds", whole and numbers, f"one of each of '{beside}'")
    assert isinstance(thresholds, dict)
    return dict(thresholds)
