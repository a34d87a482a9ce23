"""The audit as lines for a terminal, and the rows that these and the page share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medzoo.fairness.audit.facts import Attribute, Group, Report

SHOWN = {
    "auc": "AUC",
    "tpr": "TPR",
    "tnr": "TNR",
    "selection_rate": "selected",
    "tpr_at_tnr": "TPR@TNR",
    "underdiagnosis": "underdiagnosis",
    "ece": "ECE",
    "brier": "Brier",
    "calibration_intercept": "intercept",
    "calibration_slope": "slope",
}
"""Metrics of a group in the tables, with their headings."""
_FIRST = ("auc", "tpr", "tnr", "selection_rate")
GAP_TITLES = {
    "dp_gap": "demographic parity, difference",
    "dp_ratio": "demographic parity, ratio",
    "eopp1_gap": "equal opportunity (TPR), difference",
    "eopp0_gap": "TNR, difference",
    "eodd_signed": "equalised odds, TPR + TNR (differences may cancel)",
    "eodd_mean": "equalised odds, mean",
    "eodd_max": "equalised odds, larger",
    "accuracy_gap": "accuracy, difference",
    "auc_gap": "AUC, difference",
    "worst_auc": "AUC of the worst group",
    "tpr_at_tnr_gap": "TPR at the fixed TNR, difference",
    "ece_gap": "calibration error, difference",
    "brier_gap": "Brier score, difference",
    "calibration_intercept_gap": "calibration intercept, difference",
    "calibration_slope_gap": "calibration slope, difference",
    "underdiagnosis_gap": "underdiagnosis, difference",
}
NOTE = (
    "A gap is the largest minus the smallest value and so never negative; its interval may lie above it where groups "
    "are alike. Compare it with «by chance», the 95 % point of gaps between shuffled groups (5 % for the ratio and the "
    "worst AUC). A small gap of low values is no merit."
)
GUIDELINES = ("TRIPOD+AI", "CLAIM", "FUTURE-AI")
REPORTING = (
    ("table, rows, what was left out", "Participants; Missing data", "Results: Data", "Traceability"),
    ("groups with cases and positives, unknown ones", "Participants; Class imbalance", "Results: Data", "Fairness"),
    ("threshold and where it comes from", "Model output", "Evaluation", "Traceability"),
    ("figures of each group with intervals", "Model performance", "Results: Model performance", "Fairness"),
    ("gaps, what chance gives, adjusted p-values", "Fairness; Model performance", "Evaluation", "Fairness"),
    ("reliability and calibration by group", "Model performance", "Results: Model performance", "Robustness"),
    ("warnings", "Limitations", "Discussion: Limitations", "Fairness"),
)
"""What of an audit belongs under which heading of the guidelines."""


def number(value: float | None) -> str:
    """Return three decimals, and a dash where there is no value."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def ranged(value: float, ends: Sequence[float]) -> str:
    """Return a value with its interval."""
    return number(value) if math.isnan(ends[0]) else f"{number(value)} [{number(ends[0])}, {number(ends[1])}]"


def group_rows(attribute: Attribute, overall: Group, metrics: Sequence[str]) -> list[list[str]]:
    """Return a row a group, that of unknown cases and that of all; a star marks what is too few for a gap."""
    rows = []
    unknown = attribute["unknown"]
    for cell in (*attribute["groups"], *([unknown] if unknown else []), overall):
        row = [cell["name"], str(cell["cases"]), str(cell["positives"]), str(cell["negatives"])]
        for metric in metrics:
            fact = cell["metrics"][metric]
            star = "" if fact["enough"] or math.isnan(fact["value"]) else "*"
            row.append(ranged(fact["value"], fact["interval"]) + star)
        rows.append(row)
    return rows


def gap_rows(attribute: Attribute) -> list[list[str]]:
    """Return a row a gap, with the groups at its ends and their absolute values."""
    rows = []
    for name, fact in attribute["gaps"].items():
        ends = ""
        if "lowest" in fact:
            metric = next(m for m in (name.removesuffix("_gap"), *_OF.get(name, ())) if m in _names(attribute))
            low, high = (_value(attribute, end, metric) for end in (fact["lowest"], fact["highest"]))
            ends = f"{fact['lowest']} {number(low)} … {fact['highest']} {number(high)}"
        value = ranged(fact["value"], fact["interval"])
        rows.append(
            [GAP_TITLES[name], value, number(fact["by_chance_95"]), number(fact["p"]), fact.get("reason", ends)]
        )
    return rows


_OF = {
    "dp_gap": ("selection_rate",),
    "dp_ratio": ("selection_rate",),
    "eopp1_gap": ("tpr",),
    "eopp0_gap": ("tnr",),
    "worst_auc": ("auc",),
}


def _names(attribute: Attribute) -> set[str]:
    return set(attribute["groups"][0]["metrics"])


def _value(attribute: Attribute, group: str, metric: str) -> float:
    cell = next(cell for cell in attribute["groups"] if cell["name"] == group)
    return float(cell["metrics"][metric]["value"])


def lines(report: Report) -> list[str]:
    """Return what the terminal shows."""
    told, threshold = report["input"], report["threshold"]
    source = f"{threshold['source']} on {threshold['file']}" if threshold["file"] else threshold["source"]
    out = [f"{told['file']}: {told['audited']} of {told['rows']} rows, threshold {threshold['value']:g} ({source})"]
    for name, own in threshold.get("by_group", {}).items():
        out.append(f"thresholds by {name}: " + (", ".join(f"{g} {v:g}" for g, v in own.items()) or "none of its own"))
    for attribute in report["attributes"]:
        heads = [attribute["name"], "cases", "pos", "neg", *(SHOWN[m] for m in _FIRST)]
        out += ["", *_table(heads, group_rows(attribute, report["overall"], _FIRST))]
        rest = [m for m in SHOWN if m not in _FIRST]
        rows = group_rows(attribute, report["overall"], rest)
        out += ["", *_table([attribute["name"], *(SHOWN[m] for m in rest)], [[row[0], *row[4:]] for row in rows])]
        if attribute["groups"]:
            heads = [f"gaps by {attribute['name']}", "value [95 %]", "by chance", "p", "from … to"]
            out += ["", *_table(heads, gap_rows(attribute))]
    out += ["", NOTE]
    rows = [row for a in report["attributes"] for row in group_rows(a, report["overall"], tuple(SHOWN))]
    if any("*" in cell for row in rows for cell in row[4:]):
        out.append(f"* fewer than {report['settings']['minimum']} cases of a class that the metric needs: in no gap")
    return out + [f"warning: {warning}" for warning in report["warnings"]]


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    cut = [[cell if len(cell) <= 60 else cell[:59] + "…" for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[i]) for row in cut) for i in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cut]
