"""Thresholds of a checkpoint, one for each category that it knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def changed_settings(checkpoint: Mapping[str, object], now: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """Return the settings that a model has other values of than the checkpoint, whose thresholds are of scores of then.

    Args:
        checkpoint: What was saved.
        now: The settings of the model.
        names: Those that scores or thresholds depend on.
    """
    then = checkpoint.get("hyper_parameters")
    known = then if isinstance(then, Mapping) else {}
    return [name for name in names if name in known and name in now and known[name] != now[name]]
