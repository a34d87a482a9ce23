"""`medzoo compare RUN RUN`: the command line."""

from __future__ import annotations

import math
from pathlib import Path

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import words_and_out
from medzoo.core.errors import ConfigError

HELP = """usage: medzoo compare RUN RUN [-o FILE]

Whether the second run is better than the first on the cases that both were tested on: mean error (of landmarks in mm
or px, of classes the share that is wrong, of masks 1 - Dice) and AUROC, with 95 % intervals of the differences from
drawing the same patients for both. RUN is a folder with samples.csv (of fit, test or evaluate), or such a file.
  -o, --out FILE   also write the differences as JSON
"""


def run(args: list[str]) -> None:
    """Compare, and print the differences.

    Raises:
        ConfigError: The arguments are wrong.
        DataError: The runs cannot be compared.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo compare needs two runs")
        return
    paths, out = words_and_out(args)
    if len(paths) != 2:
        raise ConfigError(f"medzoo compare needs two runs, got {' '.join(paths) or 'none'}")
    _compare(paths[0], paths[1], out)


def _compare(first_path: str, second_path: str, out: str | None) -> None:
    from medzoo.core.evaluate.judged import text
    from medzoo.core.evaluate.paired import differences, read_tested
    from medzoo.core.io import write_json

    first, second = read_tested(first_path), read_tested(second_path)
    found = differences(first, second)
    cells = [["", "figure", "cases", "first", "second", "second - first", ""]]
    for part in found:
        verdict = ("differs" if part.clear else "no difference seen") if not math.isnan(part.change[1]) else ""
        values = (f"{part.first:.4g}", f"{part.second:.4g}", text(*part.change))
        cells.append([part.part, part.figure, str(part.cases), *values, verdict])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    both = [key for key in first.errors if key in second.errors]
    better = sum(second.errors[key] < first.errors[key] for key in both)
    worse = sum(second.errors[key] > first.errors[key] for key in both)
    say(f"of {len(both)} cases the second has a smaller error in {better} and a larger one in {worse}")
    for tested, other in ((first, second), (second, first)):
        alone = len(tested.errors) - len(both)
        if alone:
            say(f"left out: {alone} cases of {tested.path} that {other.path} does not have")
        lost = sum(math.isinf(tested.errors[key]) for key in both)
        if lost:
            say(f"{tested.path}: {lost} cases without a finite error take no part in the means")
    if out is not None:
        names = ("value", "low", "high")
        rows = [
            {
                "part": part.part,
                "figure": part.figure,
                "cases": part.cases,
                "first": part.first,
                "second": part.second,
                "change": dict(zip(names, part.change, strict=True)),
            }
            for part in found
        ]
        about = {"schema": "medzoo.comparison/1", "first": first.path, "second": second.path}
        write_json(Path(out), {**about, "cases": len(both), "better": better, "worse": worse, "differences": rows})
        say(f"written: {out}")
