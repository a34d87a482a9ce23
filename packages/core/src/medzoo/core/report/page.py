"""A report as one page: no script, no file, no address; all text is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.core.report.gather import RunFolder, error_of
from medzoo.core.report.pictures import Budget, case, chosen, curve, own_picture, plain, safe

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3, p { overflow-wrap: anywhere; } h1 { font-size: clamp(1.3rem, 5vw, 2rem); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8888; text-align: left; white-space: nowrap; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: .6rem 0 1.2rem; } .wide:focus-visible { outline: 2px solid currentColor; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
figure { margin: 0; max-width: 100%; } figcaption { font-size: 13px; overflow-wrap: anywhere; max-width: 32rem; }
img { max-width: 100%; height: auto; background: #fff; } .case { width: 17rem; max-width: 100%; background: #000; }
.case circle { fill: none; stroke: #ffb000; stroke-width: .35%; filter: drop-shadow(0 0 1px #000); }
.curve { width: 19rem; max-width: 100%; } .curve polyline { fill: none; stroke: currentColor; stroke-width: 1.5; }
.curve text, .curve circle { fill: currentColor; font-size: 12px; }
"""
_LISTED = 10


def page(runs: Sequence[RunFolder], anonymous: bool) -> str:
    """Return the page.

    Args:
        runs: What to show.
        anonymous: Leave out ids, paths, the command line and every picture of a case.
    """
    budget = Budget()
    title = "; ".join(dict.fromkeys(run.title for run in runs))
    body = [f"<h1>{safe(title)}</h1>", "<p>For research, not for diagnosis.</p>"]
    if anonymous:
        body.append("<p>Ids of cases, paths, the command and pictures of cases are left out.</p>")
    if len(runs) > 1:
        body += ["<h2>Side by side</h2>", _side_by_side(runs)]
    for number, run in enumerate(runs, 1):
        heading = f"{number}. {run.title}" if len(runs) > 1 else "Run"
        body += [f"<h2>{safe(heading)}</h2>", _table([], _facts(run, anonymous)), "<h3>Figures</h3>", _figures(run)]
        curves = [curve(name, values) for name, values in run.curves.items()]
        body += _pictures("Training", curves)
        body += _samples(run, anonymous, budget)
        own = [own_picture(path, budget) for path in run.figures if plain(path) or not anonymous]
        body += _pictures("Pictures of the run", own)
    if budget.refused:
        body.append(f"<p>{budget.refused} pictures are left out, for the page would grow beyond 5 MB.</p>")
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{safe(title)}</title><style>{_STYLE}</style></head><body><main>",
            *body,
            "</main></body></html>\n",
        ]
    )


def _facts(run: RunFolder, anonymous: bool) -> list[list[object]]:
    results, environment = run.results, run.environment
    versions = environment.get("versions") or results.get("versions") or {}
    command = environment.get("command")
    facts: list[list[object]] = [
        ["model", results.get("model")],
        ["data", results.get("data")],
        ["seed", results.get("seed")],
        ["seconds", results.get("seconds")],
        ["commit", environment.get("git_commit")],
        ["versions", ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else None],
    ]
    if not anonymous:
        facts += [["weights", results.get("ckpt_path")], ["folder", run.path]]
        facts.append(["command", " ".join(map(str, command)) if isinstance(command, list) else None])
    return [fact for fact in facts if fact[1] not in (None, "")]


def _figures(run: RunFolder) -> str:
    """Return the figures, a row each, its interval beside it."""
    found = run.metrics
    rows = []
    for name, value in found.items():
        if name.endswith(("_low", "_high")):
            continue
        low, high = found.get(f"{name}_low"), found.get(f"{name}_high")
        interval = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
        rows.append([name, f"{value:.4g}", interval])
    return _table(["figure", "value", "95 % interval"], rows) if rows else "<p>None.</p>"


def _side_by_side(runs: Sequence[RunFolder]) -> str:
    names = [
        name for name in dict.fromkeys(n for run in runs for n in run.metrics) if not name.endswith(("_low", "_high"))
    ]
    heads = ["figure", *(f"{number}. {run.title}" for number, run in enumerate(runs, 1))]
    cells = [[name, *(f"{run.metrics[name]:.4g}" if name in run.metrics else "–" for run in runs)] for name in names]
    return _table(heads, cells)


def _samples(run: RunFolder, anonymous: bool, budget: Budget) -> list[str]:
    if not run.samples or "error" not in run.samples[0]:
        return []
    known = sorted(
        (sample for sample in run.samples if error_of(sample) == error_of(sample)), key=error_of, reverse=True
    )
    parts = [f"<h3>Cases</h3><p>{len(run.samples)} cases were tested"]
    if anonymous or not known:
        return [*parts, ".</p>"]
    parts.append(f"; the {min(_LISTED, len(known))} with the largest error:</p>")
    columns = [name for name in ("id", "source", "label", "error", "unit", "score") if name in run.samples[0]]
    parts.append(_table(columns, [[_short(sample[name]) for name in columns] for sample in known[:_LISTED]]))
    cases = [
        case(sample, word, budget)
        for source in dict.fromkeys(sample.get("source", "") for sample in run.samples)
        for word, sample in chosen([s for s in run.samples if s.get("source", "") == source])
    ]
    return [*parts, *_pictures("From best to worst", cases)]


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text


def _pictures(title: str, pictures: Sequence[str]) -> list[str]:
    shown = [picture for picture in pictures if picture]
    return [f'<h3>{safe(title)}</h3><div class="pictures">', *shown, "</div>"] if shown else []


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = f"<thead><tr>{''.join(f'<th scope=col>{safe(h)}</th>' for h in heads)}</tr></thead>" if heads else ""
    lines = (
        f"<tr><th scope=row>{safe(row[0])}</th>{''.join(f'<td>{safe(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    # A table that is wider than a phone scrolls in its box, which the keyboard must reach.
    box = '<div class="wide" role="region" tabindex="0" aria-label="table">'
    kind = "" if heads else ' class="facts"'
    return f"{box}<table{kind}>{head}<tbody>{''.join(lines)}</tbody></table></div>"
