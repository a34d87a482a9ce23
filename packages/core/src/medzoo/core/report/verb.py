"""`medzoo report`: the command line."""

from __future__ import annotations

from pathlib import Path

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError
from medzoo.core.spelling import nearest

HELP = """usage: medzoo report RUN ... [-o FILE.html] [--anonymous]

One HTML page of tested runs, to mail or to keep: what was trained on what, figures with intervals, curves, the cases
with the largest errors, images from best to worst, the pictures that the runs drew; several runs side by side. It needs
no network and no other file, and its pictures take at most 4.5 MB.
  -o, --out FILE   the page (default: report.html)
  --anonymous      without ids of cases, paths, the command line and pictures of cases
"""


def run(args: list[str]) -> None:
    """Write the page.

    Raises:
        ConfigError: The arguments are wrong.
        DataError: A folder is not that of a tested run.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo report needs the folder of a run")
        return
    check_values(args)
    paths: list[str] = []
    out, anonymous = "report.html", False
    queue = split_equals(["--out" if arg == "-o" else arg for arg in args], ("--out",))
    while queue:
        flag = queue.pop(0)
        if flag == "--out":
            out = take_value(flag, queue)
        elif flag == "--anonymous":
            anonymous = True
        elif flag.startswith("-"):
            near = nearest(flag, ("--out", "--anonymous"))
            raise ConfigError(f"no option {flag}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
        else:
            paths.append(flag)
    if not paths:
        raise ConfigError("medzoo report needs the folder of a run")
    if not out.lower().endswith((".html", ".htm")):
        raise ConfigError(f"-o {out}: expected a name that ends in .html")
    from medzoo.core.io import replacing
    from medzoo.core.report.gather import read_run
    from medzoo.core.report.page import page

    text = page([read_run(path) for path in paths], anonymous)
    with replacing(Path(out)) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    say(f"written: {out}, {len(text.encode(errors='replace')) / 2**20:.1f} MB")
