"""The threshold of an audit: a number, or fitted on other cases than those that are audited."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.metrics.fairness import ScoreCounts
from medzoo.fairness.audit.cohort import Cohort, Columns, read_cohort
from medzoo.fairness.audit.facts import ThresholdFacts

_FROM = "from:"


@dataclass(frozen=True)
class Threshold:
    """A case with a score of at least `value` is called positive; `source` says where the value comes from."""

    value: float
    source: str
    file: str | None = None
    sha256: str | None = None

    def facts(self) -> ThresholdFacts:
        """Return what the report says of it."""
        rule = "positive where score >= value"
        return {"value": self.value, "source": self.source, "file": self.file, "sha256": self.sha256, "rule": rule}


def choose(text: str, cohort: Cohort, columns: Columns) -> Threshold:
    """Read `--threshold`.

    Args:
        text: A number from 0 to 1, or `from:FILE`, a table of validation cases with the same columns.
        cohort: The audited cases, which must share no file and no patient with those of the validation.
        columns: Names of the columns in both tables.

    Raises:
        ConfigError: It is neither, or it is fitted on the audited file.
        DataError: Patients of the validation are audited too.
    """
    if not text.startswith(_FROM):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ConfigError(f"--threshold {text}: expected a number from 0 to 1, or from:FILE")
        return Threshold(value, "given")
    path = text.removeprefix(_FROM)
    other = read_cohort(path, replace(columns, id=None), [])
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
    return Threshold(best_youden(ScoreCounts.of(other.scores, other.labels)), "Youden", path, other.sha256)


def best_youden(counts: ScoreCounts) -> float:
    """Return the score at which true-positive minus false-positive rate is largest; the lowest of several."""
    above_pos = counts.positives[::-1].cumsum()[::-1] / counts.positives.sum()
    above_neg = counts.negatives[::-1].cumsum()[::-1] / counts.negatives.sum()
    return float(counts.scores[int(np.argmax(np.round(above_pos - above_neg, 12)))])
