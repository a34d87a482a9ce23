"""What an audit finds, as `audit.json` holds it and its pages show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

Ends = tuple[float, float]
"""A 95 % interval, NaN where there is none."""
Curve = Sequence[float] | NDArray[np.float64]


class Metric(TypedDict):
    """A metric of a group; `enough` cases for it to take part in gaps."""

    value: float
    interval: Ends
    enough: bool


class Area(TypedDict):
    """AUC by DeLong."""

    auc: float
    interval: Ends


class Group(TypedDict):
    """A group; `p` beside all cases, and `q`, adjusted, of those metrics that are tested."""

    name: str
    cases: int
    positives: int
    negatives: int
    patients: int | None
    prevalence: float
    metrics: dict[str, Metric]
    delong: Area
    p: NotRequired[dict[str, float]]
    q: NotRequired[dict[str, float]]


class Gap(TypedDict):
    """A gap, with what chance gives; why it has no value, or the groups at its ends."""

    value: float
    interval: Ends
    by_chance_95: float
    p: float
    groups_compared: int
    reason: NotRequired[str]
    lowest: NotRequired[str]
    highest: NotRequired[str]


class Difference(TypedDict):
    """The largest difference of AUCs by DeLong."""

    lowest: str
    highest: str
    difference: float
    p: float


class Attribute(TypedDict):
    """A sensitive attribute."""

    name: str
    groups: list[Group]
    unknown: Group | None
    gaps: dict[str, Gap]
    delong: Difference | None
    warnings: list[str]


class Figures(TypedDict):
    """The figures of an audit."""

    overall: Group
    attributes: list[Attribute]
    warnings: list[str]


class Roc(TypedDict):
    """A ROC curve."""

    fpr: Curve
    tpr: Curve


class Bin(TypedDict):
    """A bin of scores."""

    cases: int
    mean_score: float
    share: float
    interval: Ends


class GroupCurves(TypedDict):
    """The curves of a group; a step of `sweep` has `threshold` and the rates there."""

    group: str
    roc: Roc
    reliability: list[Bin]
    sweep: list[dict[str, float]]


class Curves(TypedDict):
    """The curves of an attribute's groups."""

    attribute: str
    groups: list[GroupCurves]


class Input(TypedDict):
    """The audited table."""

    file: str
    sha256: str
    rows: int
    audited: int


class ThresholdFacts(TypedDict):
    """The threshold and where it comes from; `by_group` has those of each attribute's groups."""

    value: float
    source: str
    file: str | None
    sha256: str | None
    rule: str
    by_group: NotRequired[dict[str, dict[str, float]]]


class Report(Figures):
    """The whole of `audit.json`."""

    schema: str
    input: Input
    columns: dict[str, str | None]
    exclusions: dict[str, int]
    threshold: ThresholdFacts
    settings: dict[str, object]
    curves: list[Curves]
