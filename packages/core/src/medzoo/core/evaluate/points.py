"""Landmarks: radial errors of points in two tables, pooled over images."""

from __future__ import annotations

import json
import math
import re

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.evaluate.cases import File, Key, Options, about, facts_of, join, key_columns, key_of
from medzoo.core.evaluate.judged import Figure, Floats, Judged, Row
from medzoo.core.io import Column

_RADII = {"mm": (2.0, 2.5, 3.0, 4.0), "px": (4.0, 8.0, 16.0)}
_SLACK = 1e-6
"""Relative width of the boundary of a radius, as in `medzoo.core.metrics.landmark`."""
_COLUMNS = "landmark, x, y, or x0, y0, x1, y1, …"
_NOWHERE = (math.nan, math.nan)
Points = dict[Key, dict[str, tuple[float, float]]]


def is_points(file: File) -> bool:
    """Return whether a table has points: a row each (`landmark`, `x`, `y`), or columns `x0, y0, …` or `A_x, A_y, …`."""
    return all(map(file.has, ("landmark", "x", "y"))) or bool(_pairs(file))


def _pairs(file: File) -> dict[str, tuple[str, str]]:
    """Return the two columns of each landmark of a table with a row an image."""
    names = {name.casefold(): name for name in file.header}
    found = {}
    for folded, name in names.items():
        match = re.fullmatch(r"x_?(\d+)|(.+)_x", folded)
        other = re.sub(r"^x(?=_?\d+$)|(?<=_)x$", "y", folded)
        if match and other != folded and other in names and match[2] != "spacing":
            found[match[1] or match[2]] = (name, names[other])
    return found


def judge_points(predictions: File, truth: File, cases: File, options: Options) -> Judged:
    """Return the errors of points, in millimetres where the spacing is known, else in pixels.

    A point that is not annotated (left empty in the truth) does not count; one that is annotated and not predicted is
    `missing`, a failure at every radius, and no part of the mean.

    Args:
        predictions: Table with points.
        truth: Likewise.
        cases: Table with patients and groups.
        options: What to read, the radii, the spacing.

    Raises:
        ConfigError: A column is missing.
        DataError: The tables have no case or no landmark in common.
    """
    joined = join(_read(predictions, options), _read(truth, options), predictions.path)
    names = list(dict.fromkeys(name for points in joined.truth for name in points))
    if not names:
        raise DataError(truth.path, "has no landmarks, as the predictions have", f"give columns {_COLUMNS}")
    if not set(names) & {name for points in joined.predicted for name in points}:
        first = next(iter(joined.predicted[0]), "none")
        problem = f"has no landmark of the truth, such as {names[0]!r}, but {first!r}"
        raise DataError(predictions.path, problem, "name them alike")
    scale, unit = _scale(truth, options)
    facts = about(cases, options)
    errors = np.full((len(joined.keys), len(names)), math.nan)
    rows: list[Row] = []
    for i, (key, guess, points) in enumerate(zip(joined.keys, joined.predicted, joined.truth, strict=True)):
        for k, name in enumerate(names):
            target = np.array(points.get(name, _NOWHERE))
            if np.isfinite(target).all():
                apart = np.array(guess.get(name, _NOWHERE)) - target
                error = float(np.hypot(*(apart * scale.get(key, (1.0, 1.0)))))
                errors[i, k] = error if math.isfinite(error) else math.inf
        places = json.dumps([[round(v, 3) for v in guess.get(name, _NOWHERE)] for name in names])
        identity = {"id": key[1], "source": key[0], **facts_of(facts, key, options.groups)}
        rows.append({**identity, **_summary(errors[i]), "unit": unit, "prediction": places})
    radii = options.radii or _RADII[unit]
    figures = (f"mre_{unit}", *(f"sdr_{radius:g}" for radius in radii), "missing")
    return Judged(rows, figures, lambda index: _figure(errors[index], radii), joined.unpredicted, joined.unknown)


def _read(file: File, options: Options) -> Points:
    keys = key_columns(file, options)
    found: Points = {}
    if all(map(file.has, ("landmark", "x", "y"))):
        unique = [column.name for column in keys] + ["landmark"]
        numbers = [Column(name, "number", optional=True) for name in ("x", "y")]
        for row in file.read([*keys, Column("landmark"), *numbers], unique).rows:
            place = float(row["x"]), float(row["y"])
            found.setdefault(key_of(row, keys), {})[str(row["landmark"])] = place
        return found
    pairs = _pairs(file)
    numbers = [Column(name, "number", optional=True) for pair in pairs.values() for name in pair]
    for row in file.read([*keys, *numbers], [column.name for column in keys]).rows:
        found[key_of(row, keys)] = {name: (float(row[x]), float(row[y])) for name, (x, y) in pairs.items()}
    return found


def _scale(truth: File, options: Options) -> tuple[dict[Key, tuple[float, float]], str]:
    """Return millimetres per pixel along x and y of each case, and the unit of errors."""
    keys = key_columns(truth, options)
    pair = ("spacing_x", "spacing_y") if truth.has("spacing_x") and truth.has("spacing_y") else ("spacing", "spacing")
    if options.spacing is not None:
        given = options.spacing
        return {key_of(row, keys): (given, given) for row in truth.read(keys).rows}, "mm"
    if truth.has(pair[0]):
        table = truth.read([*keys, *(Column(name, "number", low=1e-6) for name in dict.fromkeys(pair))])
        return {key_of(row, keys): (float(row[pair[0]]), float(row[pair[1]])) for row in table.rows}, "mm"
    return {}, "px"


def _summary(errors: Floats) -> dict[str, float]:
    found = errors[np.isfinite(errors)]
    lost = int(np.isinf(errors).sum())
    mean = float(found.mean()) if len(found) else math.inf if lost else math.nan
    return {"error": mean, "worst": math.inf if lost else max(found, default=math.nan), "not_found": lost}


def _figure(errors: Floats, radii: tuple[float, ...]) -> Figure:
    found, annotated = np.isfinite(errors), ~np.isnan(errors)
    sums, counts = np.where(found, errors, 0.0).sum(1), found.sum(1)
    within = [(annotated & (np.nan_to_num(errors, nan=np.inf) <= r * (1 + _SLACK))).sum(1) for r in radii]
    lost: NDArray[np.intp] = np.isinf(errors).sum(1)

    def figure(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            columns = [weights @ sums / (weights @ counts)]
            columns += [100 * (weights @ part) / (weights @ annotated.sum(1)) for part in within]
        return np.column_stack([*columns, weights @ lost])

    return figure
