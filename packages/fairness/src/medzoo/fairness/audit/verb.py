"""`medzoo audit FILE`: the command line; nothing heavy is imported before the table is read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import read_given
from medzoo.core.errors import ConfigError

if TYPE_CHECKING:
    from medzoo.fairness.audit.facts import Report

HELP = """usage: medzoo audit FILE [--label COLUMN] [--score COLUMN] [--group COLUMN] [options]

Metrics of a table of predictions by group, with intervals. FILE is any CSV with a row a case, such as a run's
samples.csv. Writes audit.json and audit.html. Where --label, --score or --group is missing, the usual names are looked
for (label, y_true, target; prob, y_score, score; sex, race, age, group_*, sensitive_feature_*; patient), and shown.
  --label COLUMN     true label, 0 or 1; rows where it is empty are left out and counted
  --positive NAME    label that counts as 1, where labels are names as in samples.csv; all others count as 0
  --score COLUMN     predicted probability of label 1
  --group COLUMN     attribute; may be repeated. COLUMN:40,60 cuts a continuous one, A+B:40,60 combines two
  --patient COLUMN   cases of one patient belong together
  --id COLUMN        must not repeat
  --threshold T      a number (default: 0.5); from:FILE fits it (Youden) on a table of validation cases, by-group:FILE
                     fits one for each group
  --no-finding       label 1 means «no finding», so that its false positives are underdiagnosis
  --minimum N        cases of a class that a group needs to take part in a gap (default: 10)
  --tnr R            true-negative rate at which true-positive rates are compared (default: 0.8)
  --repeats N        resamples of the bootstrap, and shuffles of the null (default: 1000)
  --seed N           of the resampling (default: 0)
  -o, --out DIR      folder of the two files (default: audit)
"""
_VALUED = (
    "--label",
    "--positive",
    "--score",
    "--patient",
    "--id",
    "--threshold",
    "--minimum",
    "--tnr",
    "--repeats",
    "--seed",
    "--out",
)


def run(args: list[str]) -> None:
    """Audit a table, print the figures and write them.

    Raises:
        ConfigError: The arguments are wrong.
        DataError: The table cannot be audited.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo audit needs FILE")
        return
    files, values, repeated, switches = read_given(args, _VALUED, ("--group",), ("--no-finding",))
    groups = repeated["--group"]
    if len(files) != 1:
        raise ConfigError(f"medzoo audit needs one FILE, got {' '.join(files) or 'none'}")
    if not ({"--label", "--score"} <= values.keys() and groups):
        values, groups = _found(files[0], values, groups)
    _audit(files[0], values, list(dict.fromkeys(groups)), bool(switches))


def _found(path: str, values: dict[str, str], groups: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options with the usual columns in the place of those that are missing, and show them."""
    from medzoo.core.io.columns import columns_of
    from medzoo.fairness.audit.usual import usual_columns

    values, groups = usual_columns(columns_of(path), values, groups)
    for needed in ("--label", "--score"):
        if needed not in values:
            raise ConfigError(f"medzoo audit needs {needed} COLUMN: {path} has none of a usual name")
    if not groups:
        raise ConfigError(f"medzoo audit needs --group COLUMN, once or more: {path} has none of a usual name")
    named = [f"{flag} {values[flag]}" for flag in ("--label", "--score", "--patient") if flag in values]
    say("columns: " + " ".join([*named, *(f"--group {group}" for group in groups)]))
    return values, groups


def _audit(path: str, values: dict[str, str], groups: list[str], no_finding: bool) -> None:
    minimum = _whole("--minimum", values.get("--minimum", "10"), 1, 1_000_000)
    repeats = _whole("--repeats", values.get("--repeats", "1000"), 100, 100_000)
    seed = _whole("--seed", values.get("--seed", "0"), 0, 2**32 - 1)
    tnr = _share("--tnr", values.get("--tnr", "0.8"))
    from medzoo.core.io import replacing, write_json
    from medzoo.fairness.audit.cohort import Columns, read_cohort
    from medzoo.fairness.audit.measure import Settings, measure, settings_facts
    from medzoo.fairness.audit.page import page
    from medzoo.fairness.audit.pictures import curves
    from medzoo.fairness.audit.tables import lines
    from medzoo.fairness.audit.threshold import choose

    more = (values.get(flag) for flag in ("--patient", "--id", "--positive"))
    columns = Columns(values["--label"], values["--score"], *more)
    cohort = read_cohort(path, columns, groups)
    threshold = choose(values.get("--threshold", "0.5"), cohort, columns, minimum)
    cohort = threshold.applied(cohort)
    settings = Settings(threshold.value, minimum, repeats, tnr=tnr, no_finding=no_finding, seed=seed)
    figures = measure(cohort, settings)
    report: Report = {
        "schema": "medzoo.audit/1",
        "input": {"file": path, "sha256": cohort.sha256, "rows": cohort.rows, "audited": len(cohort.scores)},
        "columns": asdict(columns),
        "exclusions": cohort.excluded,
        "threshold": threshold.facts(),
        "settings": settings_facts(settings),
        "overall": figures["overall"],
        "attributes": figures["attributes"],
        "warnings": figures["warnings"],
        "curves": curves(cohort, settings),
    }
    folder = Path(values.get("--out", "audit"))
    write_json(folder / "audit.json", report)
    with replacing(folder / "audit.html") as part:
        part.write_text(page(report), encoding="utf-8", errors="backslashreplace")
    for line in lines(report):
        say(line)
    say(f"written: {folder / 'audit.json'}, {folder / 'audit.html'}")


def _whole(flag: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
        raise ConfigError(f"{flag} {text}: expected a whole number from {low} to {high}")
    return int(text)


def _share(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ConfigError(f"{flag} {text}: expected a number between 0 and 1")
    return value
