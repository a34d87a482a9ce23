"""`medzoo evaluate PREDICTIONS TRUTH`: the command line."""

from __future__ import annotations

import math
from pathlib import Path

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import read_given
from medzoo.core.errors import ConfigError, DataError

HELP = """usage: medzoo evaluate PREDICTIONS TRUTH [--group COLUMN] [options]

Figures of predictions of any program beside the truth, with 95 % intervals from drawing patients. Both are tables
(CSV, with a column id) or both folders of masks, whose files are called alike. What they hold decides the task:
  points    columns landmark, x, y, or x0, y0, x1, y1, ...: mean radial error, success rates
  classes   PREDICTIONS with p_NAME for each class, or one score; TRUTH with the class in a column, or label_NAME
  masks     PNG, TIFF, NIfTI, DICOM: what is not zero is marked; Dice, IoU, sensitivity, precision
  --group COLUMN     also by group; may be repeated
  --patient COLUMN   cases of one patient belong together (default: patient or subject_id, where there is one)
  --cases FILE       table with id, patients and groups (default: TRUTH)
  --id COLUMN        names a case (default: id)
  --label COLUMN     true class (default: label)
  --score COLUMN     predicted score of the positive class (default: score)
  --positive VALUE   label that the score is of (default: 1)
  --threshold T      score from which a case, or one of several labels, is called positive (default: 0.5)
  --spacing MM       millimetres per pixel of points (default: spacing or spacing_x, spacing_y of TRUTH, else px)
  --radii R,R,...    of the success rates (default: 2,2.5,3,4 mm or 4,8,16 px)
  -o, --out DIR      folder of evaluation.json and samples.csv (default: evaluation)
"""
_VALUED = (
    "--patient",
    "--cases",
    "--id",
    "--label",
    "--score",
    "--positive",
    "--threshold",
    "--spacing",
    "--radii",
    "--out",
)


def run(args: list[str]) -> None:
    """Evaluate, print the figures and write them.

    Raises:
        ConfigError: The arguments are wrong.
        DataError: Predictions and truth cannot be compared.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo evaluate needs PREDICTIONS and TRUTH")
        return
    paths, values, repeated, _ = read_given(args, _VALUED, ("--group",))
    if len(paths) != 2:
        raise ConfigError(f"medzoo evaluate needs PREDICTIONS and TRUTH, got {' '.join(paths) or 'neither'}")
    _evaluate(paths[0], paths[1], values, tuple(dict.fromkeys(repeated["--group"])))


def _evaluate(predictions: str, truth: str, values: dict[str, str], groups: tuple[str, ...]) -> None:
    from medzoo.core.evaluate.cases import File, Options, check_told
    from medzoo.core.evaluate.judged import lines, parts
    from medzoo.core.io import write_csv, write_json
    from medzoo.core.names import listed

    options = Options(
        **{
            name: values[f"--{name}"]
            for name in ("id", "patient", "label", "score", "positive")
            if f"--{name}" in values
        },
        groups=groups,
        threshold=_number("--threshold", values.get("--threshold", "0.5"), -math.inf),
        spacing=_number("--spacing", values["--spacing"], 0) if "--spacing" in values else None,
        radii=tuple(_number("--radii", part, 0) for part in values["--radii"].split(","))
        if "--radii" in values
        else (),
    )
    for path in (predictions, truth):
        if not Path(path).exists():
            raise DataError(path, "does not exist", "check the path")
    cases = File(values["--cases"]) if "--cases" in values else None
    alone: list[str] = []
    if Path(predictions).is_dir() and Path(truth).is_dir():
        from medzoo.core.evaluate.masks import judge_masks

        if groups and cases is None:
            raise ConfigError("--group: masks say nothing of groups; name a table that does by --cases FILE")
        _check_used("masks", values, () if cases is None else ("--id", "--patient"))
        task, judged = "masks", judge_masks(predictions, truth, cases, options)
    else:
        from medzoo.core.evaluate.classes import judge_classes, unpaired
        from medzoo.core.evaluate.points import is_points, judge_points

        guessed, known = File(predictions), File(truth)
        task, judge = ("points", judge_points) if is_points(guessed) else ("classes", judge_classes)
        one_score = () if guessed.starting("p_") else ("--score", "--positive")
        called = ("--threshold",) if one_score or known.starting("label_") else ()
        own = ("--spacing", "--radii") if task == "points" else ("--label", *one_score, *called)
        _check_used(task, values, ("--id", "--patient", *own))
        judged = judge(guessed, known, cases or known, options)
        alone = unpaired(guessed, known) if task == "classes" else []
    ids = [str(row["id"]) for row in judged.rows]
    untold = [] if cases is None else check_told(cases, options, ids, task == "masks")
    found = parts(judged, groups)
    folder = Path(values.get("--out", "evaluation"))
    figures = {
        part.title: {
            "cases": part.cases,
            "patients": part.patients,
            **{name: dict(zip(("value", "low", "high"), three, strict=True)) for name, three in part.figures.items()},
        }
        for part in found
    }
    strays = {"without_prediction": judged.unpredicted, "without_truth": judged.unknown}
    report = {"schema": "medzoo.evaluation/1", "predictions": predictions, "truth": truth, "task": task}
    write_json(folder / "evaluation.json", {**report, **{k: list(v) for k, v in strays.items()}, "figures": figures})
    write_csv(folder / "samples.csv", judged.rows)
    for line in lines(found):
        say(line)
    for what, names in strays.items():
        if names:
            say(f"left out, {what.replace('_', ' ')}: {len(names)} ({listed(names)})")
    if alone:
        say(f"left out, labels that only one of the tables has: {', '.join(alone)}")
    if untold:
        say(f"without a row in {values['--cases']}, so that patient and groups are unknown: {listed(untold)}")
    say(f"written: {folder / 'evaluation.json'}, {folder / 'samples.csv'}")


def _check_used(task: str, values: dict[str, str], used: tuple[str, ...]) -> None:
    """Refuse an option that would have no effect.

    Raises:
        ConfigError: There is one.
    """
    stray = next((flag for flag in values if flag not in (*used, "--cases", "--out")), None)
    if stray is not None:
        own = f"those in use are {', '.join(used)}" if used else "name a table of the cases by --cases FILE"
        raise ConfigError(f"{stray}: has no effect on these {task}; {own}")


def _number(flag: str, text: str, above: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > above):
        raise ConfigError(f"{flag} {text}: expected a number" + ("" if math.isinf(above) else f" above {above:g}"))
    return value
