"""The threshold of an audit: a number, or fitted on other cases than those that are audited, for all or by group."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.metrics.fairness import ScoreCounts
from medzoo.fairness.audit.attributes import Groups
from medzoo.fairness.audit.cohort import Cohort, Columns, read_cohort
from medzoo.fairness.audit.facts import ThresholdFacts

_FROM, _BY_GROUP = "from:", "by-group:"


@dataclass(frozen=True)
class Threshold:
    """A case with a score of at least `value` is called positive.

    Attributes:
        value: For all cases.
        source: Where it comes from.
        file: Table that it was fitted on.
        sha256: Of that table.
        by_group: Thresholds of groups with enough cases there, by attribute and group.
    """

    value: float
    source: str
    file: str | None = None
    sha256: str | None = None
    by_group: dict[str, dict[str, float]] = field(default_factory=dict)

    def facts(self) -> ThresholdFacts:
        """Return what the report says of it."""
        rule = "positive where score >= value"
        facts: ThresholdFacts = {
            "value": self.value, "source": self.source, "file": self.file, "sha256": self.sha256, "rule": rule,
        }  # fmt: skip
        if self.by_group:
            facts["rule"] = f"{rule}; a group's own value in the tables by group, whose scores are stretched to it"
            facts["by_group"] = self.by_group
        return facts

    def applied(self, cohort: Cohort) -> Cohort:
        """Return the cohort with groups that are judged by their own thresholds, if there are any."""
        if not self.by_group:
            return cohort
        groups = []
        for one in cohort.groups:
            scores = cohort.scores.copy()
            for name, own in self.by_group[one.name].items():
                rows = one.codes == one.names.index(name) if name in one.names else np.zeros(len(scores), dtype=bool)
                scores[rows] = stretched(scores[rows], own, self.value)
            groups.append(replace(one, scores=scores))
        return replace(cohort, groups=tuple(groups))


def choose(text: str, cohort: Cohort, columns: Columns, minimum: int = 10) -> Threshold:
    """Read `--threshold`.

    Args:
        text: A number from 0 to 1, `from:FILE`, a table of validation cases with the same columns, or
            `by-group:FILE`, which fits one for each group.
        cohort: The audited cases, which must share no file and no patient with those of the validation.
        columns: Names of the columns in both tables.
        minimum: Positives and negatives that a group needs there for a threshold of its own.

    Raises:
        ConfigError: It is none of these, or it is fitted on the audited file.
        DataError: Patients of the validation are audited too, or no threshold separates them.
    """
    kind = next((kind for kind in (_FROM, _BY_GROUP) if text.startswith(kind)), None)
    if kind is None:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ConfigError(f"--threshold {text}: expected a number from 0 to 1, from:FILE or by-group:FILE")
        return Threshold(value, "given")
    path = text.removeprefix(kind)
    attributes = [groups.name for groups in cohort.groups] if kind == _BY_GROUP else []
    other = read_cohort(path, replace(columns, id=None), attributes)
    if other.sha256 == cohort.sha256:
        problem = "is the audited table itself"
        raise ConfigError(f"--threshold {text}: {problem}; fit the threshold on the validation cases")
    shared = sorted(set(other.patient_names) & set(cohort.patient_names))
    if shared:
        raise DataError(
            path,
            f"has {len(shared)} patients that are audited too, such as {shared[0][:40]!r}",
            "split by patient, for a threshold must not be fitted on the cases that it is judged on",
        )
    value = best_youden(ScoreCounts.of(other.scores, other.labels))
    if kind == _FROM:
        return Threshold(value, "Youden", path, other.sha256)
    if not 0 < value < 1:
        raise DataError(path, f"has a best threshold of {value:g}", "give scores that separate the labels somewhere")
    own = {groups.name: _by_group(other, groups, minimum) for groups in other.groups}
    return Threshold(value, "Youden by group", path, other.sha256, own)


def _by_group(cohort: Cohort, groups: Groups, minimum: int) -> dict[str, float]:
    found = {}
    for g, name in enumerate(groups.names):
        rows = np.flatnonzero(groups.codes == g)
        positives = int(cohort.labels[rows].sum())
        if min(positives, len(rows) - positives) >= minimum:
            found[name] = best_youden(ScoreCounts.of(cohort.scores[rows], cohort.labels[rows]))
    return found


def stretched(scores: NDArray[np.float64], own: float, common: float) -> NDArray[np.float64]:
    """Return scores, in their order, of which those of at least `own` are those of at least `common`.

    Args:
        scores: `(N,)` in [0, 1].
        own: Threshold of these cases, in [0, 1].
        common: Threshold that all cases are judged by afterwards, above 0 and below 1.
    """
    above = 1 - (1 - scores) * ((1 - common) / (1 - own)) if own < 1 else np.ones_like(scores)
    below = scores * (common / own) if own > 0 else scores
    # Rounding must not take a case to the other side.
    return np.where(scores >= own, np.maximum(above, common), np.minimum(below, np.nextafter(common, 0)))


def best_youden(counts: ScoreCounts) -> float:
    """Return the score at which true-positive minus false-positive rate is largest; the lowest of several."""
    above_pos = counts.positives[::-1].cumsum()[::-1] / counts.positives.sum()
    above_neg = counts.negatives[::-1].cumsum()[::-1] / counts.negatives.sum()
    return float(counts.scores[int(np.argmax(np.round(above_pos - above_neg, 12)))])
