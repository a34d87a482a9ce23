"""The report of a benchmark as a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medzoo.core.benchmark.figures import Mark, Measure, Report, Spread
from medzoo.core.io import markdown_cell

_BESIDE: tuple[Measure, ...] = ("speed", "memory_mb", "seconds")


def markdown(report: Report, marks: Sequence[Mark]) -> str:
    """Return the report: what was run, a row a figure, what is marked and what failed.

    Args:
        report: What `benchmark.json` holds.
        marks: Of the comparison; the rows concerned end in ✗.
    """
    about = {"medzoo": report["medzoo"], "commit": report["commit"], "budget": report["budget"], "date": report["date"]}
    lines = [
        "# Benchmark",
        "",
        ", ".join(f"{name} {markdown_cell(value)}" for name, value in about.items() if value),
        "",
        f"Command: `{markdown_cell(report['command'])}`",
        "",
        "Values are means over seeds ± standard deviation. Speed is samples a second in training divided by those of a "
        "small reference network in the same process, right before and after; memory is the peak of the process.",
        "",
        "| model | data | seeds | figure | value | baseline | speed | memory, MB | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    marked = {(mark.model, mark.data, mark.figure): mark for mark in marks}
    for row in report["rows"]:
        for place, (name, value) in enumerate(row["metrics"].items()):
            mark = marked.get((row["model"], row["data"], name))
            cells = [row["model"], row["data"], len(row["seeds"])] if not place else ["", "", ""]
            more = [_shown(row.get(key)) for key in _BESIDE] if not place else [""] * 3
            baseline = f"{_limits(mark)} ✗" if mark else ""
            lines.append(_line([*cells, name, _shown(value), baseline, *more]))
    lines += ["", *(f"- ✗ {markdown_cell(mark)}" for mark in marks)]
    lines += [f"- failed: {markdown_cell(name)}: {markdown_cell(why)}" for name, why in report["failed"].items()]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(markdown_cell(cell) for cell in cells)} |"


def _limits(mark: Mark) -> str:
    if math.isinf(mark.high):
        return f"at least {mark.low:.4g}"
    return f"at most {mark.high:.4g}" if math.isinf(mark.low) else f"{mark.low:.4g} to {mark.high:.4g}"


def _shown(value: Spread | None) -> str:
    if value is None:
        return ""
    return f"{value['mean']:.4g}" + ("" if value["sd"] is None else f" ± {value['sd']:.2g}")
