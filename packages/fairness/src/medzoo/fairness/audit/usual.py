"""Columns of a table of predictions by the names that other tools give them, where the command line names none."""

from __future__ import annotations

from collections.abc import Sequence

NAMES = {
    "--label": ("label", "labels", "y_true", "ytrue", "target", "targets", "gt", "ground_truth", "true_label", "truth"),
    "--score": ("prob", "probs", "probability", "proba", "y_prob", "y_proba", "y_score", "score", "scores", "y_pred"),
    "--patient": ("patient", "patient_id", "subject_id", "subject"),
}
"""Of FairMedFM, MEDFAIR and scikit-learn's and fairlearn's arguments; the first that is there is taken."""
GROUPS = ("sex", "gender", "race", "ethnicity", "age_group", "skin_type", "fitzpatrick", "site", "hospital", "scanner")
PREFIXES = ("group_", "sensitive_feature_")
"""Of medzoo's `samples.csv` and of fairlearn's MetricFrame."""
AGES = "40,60"
"""Where a column `age` is cut."""


def usual_columns(
    header: Sequence[str], values: dict[str, str], groups: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the columns that were named, and in the place of those that were not the usual ones that the table has.

    Args:
        header: Of the table.
        values: Options so far; those that are there stay.
        groups: Attributes so far; where there are any they stay.
    """
    known = {name.casefold(): name for name in reversed(header)}
    found = dict(values)
    for flag, names in NAMES.items():
        name = next((known[name] for name in names if name in known), None)
        if name is not None:
            found.setdefault(flag, name)
    attributes = [name for name in header if name.casefold() in GROUPS or name.casefold().startswith(PREFIXES)]
    attributes += [f"{known['age']}:{AGES}"] if "age" in known else []
    return found, list(groups or attributes)
