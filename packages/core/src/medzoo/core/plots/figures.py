"""What all figures share: colours that colour-blind readers distinguish, and saving in one step."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TypedDict

from matplotlib.figure import Figure

from medzoo.core.io.files import replacing

TRUTH, PREDICTION, ERROR = "#56B4E9", "#E69F00", "#F0E442"
"""Sky blue, orange and yellow of Okabe and Ito's palette: distinct for all common kinds of colour blindness."""

CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")


class Style(TypedDict):
    """Looks of a line."""

    color: str
    linestyle: str
    linewidth: float


def style(index: int) -> Style:
    """Colour and dashes of line `index`: the two cycle at different lengths, so 28 lines differ, also in grey."""
    return {"color": CYCLE[index % len(CYCLE)], "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.6}


def save(figure: Figure, path: str | os.PathLike[str], dpi: int | None = None) -> None:
    """Write a figure so that the file is whole or absent.

    Args:
        figure: What to draw.
        path: Target; its ending (`.png`, `.pdf`, `.svg`) decides on the format, its folder is made where missing.
        dpi: Dots per inch; the figure's own if not given.

    Raises:
        ValueError: The ending names no known format.
        DataError: The folder cannot be written to.
    """
    kind = Path(path).suffix.lstrip(".").lower()
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ValueError(f"path is {os.fspath(path)!r}, expected an ending that is one of {', '.join(sorted(known))}")
    # No time stamps: the same figure gives the same file.
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    with replacing(path) as part:
        write = partial(figure.savefig, part, format=kind, dpi="figure" if dpi is None else dpi, metadata=metadata)
        if kind == "png":  # packed hard, it takes as long again as to draw, and is a fifth smaller
            write(pil_kwargs={"compress_level": 1})
        else:
            write()
