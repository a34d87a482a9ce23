"""The curves of an audit: ROC, reliability and a sweep of thresholds, of each group; as numbers and as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from medzoo.core.metrics.calibration import reliability
from medzoo.core.metrics.fairness import ScoreCounts, rates
from medzoo.core.names import printable
from medzoo.fairness.audit.cohort import Cohort
from medzoo.fairness.audit.facts import Bin, Curves, GroupCurves
from medzoo.fairness.audit.measure import Settings

_POINTS = 200
SWEEP = tuple(round(0.05 * step, 2) for step in range(1, 20))
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b")
"""After Okabe and Ito, which the colour-blind tell apart; groups beyond them repeat colours with another dash."""
_DASHES = ("", "6 3", "2 2")
_SIDE, _PAD = 260, 34


def curves(cohort: Cohort, settings: Settings) -> list[Curves]:
    """Return the curves of each attribute's groups; a group without both classes has none."""
    found: list[Curves] = []
    for groups in cohort.groups:
        own: list[GroupCurves] = []
        scores = cohort.judged(groups).scores
        for g, name in enumerate(groups.names):
            rows = np.flatnonzero(groups.codes == g)
            counts = ScoreCounts.of(scores[rows], cohort.labels[rows])
            if counts.positives.sum() and counts.negatives.sum():
                own.append(_curves(name, counts, settings))
        found.append({"attribute": groups.name, "groups": own})
    return found


def _curves(name: str, counts: ScoreCounts, settings: Settings) -> GroupCurves:
    tpr = np.append(0, counts.positives[::-1].cumsum()) / counts.positives.sum()
    fpr = np.append(0, counts.negatives[::-1].cumsum()) / counts.negatives.sum()
    kept = np.unique(np.linspace(0, len(tpr) - 1, min(_POINTS, len(tpr))).round().astype(int))
    cases, mean, share = reliability(counts.scores, counts.negatives, counts.positives, settings.bins)
    bins: list[Bin] = [
        {"cases": int(n), "mean_score": float(m), "share": float(s), "interval": wilson(float(s), int(n))}
        for n, m, s in zip(cases, mean, share, strict=True)
        if n
    ]
    sweep = [{"threshold": t, **{k: float(v) for k, v in rates(counts, t).items()}} for t in SWEEP]
    return {"group": name, "roc": {"fpr": fpr[kept], "tpr": tpr[kept]}, "reliability": bins, "sweep": sweep}


def wilson(share: float, cases: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of independent cases."""
    middle = (share + z * z / (2 * cases)) / (1 + z * z / cases)
    half = z / (1 + z * z / cases) * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Line:
    """A line of a picture, in coordinates from 0 to 1; `bars` are low and high ends at its points."""

    name: str
    x: Sequence[float] | NDArray[np.float64]
    y: Sequence[float] | NDArray[np.float64]
    bars: Sequence[tuple[float, float]] = ()
    marks: bool = False


def picture(title: str, x_title: str, y_title: str, lines: Sequence[Line], diagonal: bool) -> str:
    """Return an SVG of lines in the unit square, with a description for those who do not see it."""
    side, pad = _SIDE, _PAD
    text = [
        f'<svg viewBox="0 0 {side + pad + 10} {side + pad + 26}" role="img" aria-label="{_safe(title)}">',
        f'<text x="{pad}" y="14" class="t">{_safe(title)}</text>',
        f'<rect x="{pad}" y="20" width="{side}" height="{side}" class="frame"/>',
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        px, py = _at(tick, tick)
        text.append(f'<text x="{px}" y="{side + 33}" class="n" text-anchor="middle">{tick:g}</text>')
        text.append(f'<text x="{pad - 4}" y="{py + 3}" class="n" text-anchor="end">{tick:g}</text>')
    if diagonal:
        (x0, y0), (x1, y1) = _at(0, 0), _at(1, 1)
        text.append(f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" class="diagonal"/>')
    for number, line in enumerate(lines):
        text += _drawn(line, number)
    text.append(f'<text x="{pad + side / 2}" y="{side + 48}" class="n" text-anchor="middle">{_safe(x_title)}</text>')
    middle = 20 + side / 2
    turned = f'transform="rotate(-90 9 {middle})"'
    text.append(f'<text x="9" y="{middle}" class="n" text-anchor="middle" {turned}>{_safe(y_title)}</text></svg>')
    return "".join(text)


def _drawn(line: Line, number: int) -> list[str]:
    colour, dash = style(number)
    valid = [(*_at(float(x), float(y)), i) for i, (x, y) in enumerate(zip(line.x, line.y, strict=True)) if y == y]
    path = " ".join(f"{x},{y}" for x, y, _ in valid)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    drawn = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>']
    for x, y, i in valid if line.marks else ():
        drawn.append(f'<circle cx="{x}" cy="{y}" r="2.6" fill="{colour}"/>')
        if line.bars:
            (_, low), (_, high) = _at(0, line.bars[i][0]), _at(0, line.bars[i][1])
            drawn.append(f'<line x1="{x}" y1="{low}" x2="{x}" y2="{high}" stroke="{colour}" stroke-width="1"/>')
    return drawn


def style(number: int) -> tuple[str, str]:
    """Return colour and dashes of the line with a number."""
    return COLOURS[number % len(COLOURS)], _DASHES[number // len(COLOURS) % len(_DASHES)]


def _at(x: float, y: float) -> tuple[float, float]:
    return round(_PAD + x * _SIDE, 1), round(20 + (1 - y) * _SIDE, 1)


def _safe(text: str) -> str:
    return escape(printable(text))
