"""The audit as one HTML page that needs nothing else: no script, no file, no address; all text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from medzoo.core.names import printable
from medzoo.fairness.audit.facts import Attribute, Curves, GroupCurves, Report, ThresholdFacts
from medzoo.fairness.audit.pictures import SWEEP, Line, picture, style
from medzoo.fairness.audit.tables import GUIDELINES, NOTE, REPORTING, SHOWN, gap_rows, group_rows, number

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .6rem 0 1.2rem; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #8886; text-align: left; white-space: nowrap; }
.wide { overflow-x: auto; } .pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
svg { width: 19rem; max-width: 100%; } text { fill: currentColor; } .t { font-size: 12px; font-weight: 600; }
.n { font-size: 9px; } .frame { fill: none; stroke: currentColor; stroke-opacity: .5; }
.diagonal { stroke: currentColor; stroke-opacity: .35; stroke-dasharray: 3 3; }
.warning { border-left: 4px solid #d55e00; padding: .2rem .8rem; margin: .3rem 0; } .key span { margin-right: 1.2rem; }
"""


def page(report: Report) -> str:
    """Return the page of a report."""
    told, threshold = report["input"], report["threshold"]
    facts = [
        ["table", told["file"]],
        ["SHA-256", told["sha256"]],
        ["rows", f"{told['audited']} audited of {told['rows']}"],
        ["left out", ", ".join(f"{n} {why}" for why, n in report["exclusions"].items() if n) or "none"],
        ["columns", ", ".join(f"{what}: {name}" for what, name in report["columns"].items() if name)],
        ["threshold", f"{threshold['value']:g} ({threshold['source']}{_file(threshold)}): {threshold['rule']}"],
        *(
            [f"thresholds by {name}", ", ".join(f"{g} {v:g}" for g, v in own.items()) or "none of its own"]
            for name, own in threshold.get("by_group", {}).items()
        ),
        ["minimum", f"{report['settings']['minimum']} cases of a class for a metric to take part in gaps"],
        ["intervals", f"95 %, {report['settings']['interval']}, {report['settings']['repeats']} times"],
    ]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Audit of {_safe(told['file'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Audit of {_safe(told['file'])}</h1>",
        _table([], facts),
        *(f'<p class="warning">{_safe(warning)}</p>' for warning in report["warnings"]),
        f"<p>{_safe(NOTE)} A star marks values of too few cases. Whether differences are acceptable is a question of "
        "the use and not of this page.</p>",
    ]
    for attribute, curves in zip(report["attributes"], report["curves"], strict=True):
        parts += _attribute(attribute, curves, report)
    parts += ["<h2>Where this belongs in a report</h2>", _table(["of this page", *GUIDELINES], REPORTING)]
    parts.append(
        "<p>By the headings of the guidelines' checklists. What a table of predictions cannot tell is for the authors: "
        "who was studied, how attributes and labels were obtained, and which inequalities are known.</p>"
    )
    return "".join([*parts, "</body></html>\n"])


def _attribute(attribute: Attribute, curves: Curves, report: Report) -> list[str]:
    heads = [attribute["name"], "cases", "positives", "negatives", *SHOWN.values()]
    parts = [f"<h2>{_safe(attribute['name'])}</h2>"]
    parts.append(_table(heads, group_rows(attribute, report["overall"], tuple(SHOWN))))
    if attribute["groups"]:
        parts.append(_table(["gap", "value [95 %]", "by chance", "p", "from … to"], gap_rows(attribute)))
        parts.append("<h3>Each group beside all cases: adjusted p-values</h3>")
        tested = list(attribute["groups"][0]["q"])
        rows = [[cell["name"], *(number(cell["q"][m]) for m in tested)] for cell in attribute["groups"]]
        parts.append(_table(["group", *(SHOWN.get(m, m) for m in tested)], rows))
    check = attribute["delong"]
    if check:
        parts.append(
            f"<p>DeLong as a check: AUC of {_safe(check['highest'])} is {number(check['difference'])} above that of "
            f"{_safe(check['lowest'])}, p {number(check['p'])} (cases taken as independent, the pair was chosen)</p>"
        )
    groups = curves["groups"]
    if groups:
        parts.append(_key([group["group"] for group in groups]))
        parts.append(f'<div class="pictures">{"".join(_pictures(groups))}</div>')
    return parts


def _pictures(groups: Sequence[GroupCurves]) -> list[str]:
    roc = [Line(g["group"], g["roc"]["fpr"], g["roc"]["tpr"]) for g in groups]
    reliable = [
        Line(
            g["group"],
            [b["mean_score"] for b in g["reliability"]],
            [b["share"] for b in g["reliability"]],
            [b["interval"] for b in g["reliability"]],
            marks=True,
        )
        for g in groups
    ]
    pictures = [
        picture("ROC", "false-positive rate", "true-positive rate", roc, diagonal=True),
        picture("Reliability", "mean score of a bin", "share of positives", reliable, diagonal=True),
    ]
    for metric, title in (
        ("tpr", "true-positive rate"),
        ("fpr", "false-positive rate"),
        ("selection_rate", "selected"),
    ):
        sweep = [Line(g["group"], SWEEP, [step[metric] for step in g["sweep"]]) for g in groups]
        pictures.append(picture(f"Threshold sweep: {title}", "threshold", title, sweep, diagonal=False))
    return pictures


def _key(names: Sequence[str]) -> str:
    entries = []
    for place, name in enumerate(names):
        colour, dash = style(place)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        mark = f'<line x1="0" y1="5" x2="24" y2="5" stroke="{colour}" stroke-width="2"{dashes}/>'
        box = f'<svg viewBox="0 0 24 10" style="width:24px" aria-hidden="true">{mark}</svg>'
        entries.append(f"<span>{box} {_safe(name)}</span>")
    return f'<p class="key">{"".join(entries)}</p>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = f"<thead><tr>{''.join(f'<th>{_safe(h)}</th>' for h in heads)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def _file(threshold: ThresholdFacts) -> str:
    return f" on {threshold['file']}, SHA-256 {threshold['sha256']}" if threshold["file"] else ""


def _safe(text: object) -> str:
    return escape(printable(text))
