"""Pictures inside a page: the run's own, cases from best to worst, curves; all as data, within a number of bytes."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from medzoo.core.errors import MedzooError
from medzoo.core.io import read_image
from medzoo.core.names import printable
from medzoo.core.report.gather import error_of

PLAIN = ("_confusion", "_reliability", "_landmarks", "_scores")
"""How the names of the run's pictures end that show no single case."""
_SIDE, _SHOWN, _QUALITY = 1400, 480, 82  # pixels of a large picture, of a case; of JPEG
_WIDE, _HIGH, _PAD = 300, 150, 34


def safe(text: object) -> str:
    """Return text for a page."""
    return escape(printable(text))


@dataclass
class Budget:
    """Bytes that pictures may take.

    Attributes:
        left: How many are left.
        refused: Pictures that found no room.
    """

    left: int = 4_500_000
    refused: int = field(default=0)

    def take(self, content: bytes) -> bool:
        """Count a picture, where there is room for it."""
        size = len(content) * 4 // 3
        if size > self.left:
            self.refused += 1
            return False
        self.left -= size
        return True


def own_picture(path: Path, budget: Budget) -> str:
    """Return a picture that the run drew as an element; empty where it has no room or cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = path.read_bytes()
        if len(content) > 150_000:
            with Image.open(io.BytesIO(content)) as image:
                shown = image.convert("RGB")
            shown.thumbnail((_SIDE, _SIDE))
            packed = io.BytesIO()
            shown.save(packed, "JPEG", quality=_QUALITY)
            content = min(content, packed.getvalue(), key=len)
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return ""
    kind = "png" if content[:4] == b"\x89PNG" else "jpeg"
    words = path.stem.replace("_", " ")
    return _figure(f'<img alt="{safe(words)}" src="{_data(kind, content)}">', words) if budget.take(content) else ""


def plain(path: Path) -> bool:
    """Return whether a picture of a run shows all cases together, and names none."""
    return path.stem.endswith(PLAIN) or path.stem.startswith("errors_")


def chosen(samples: Sequence[dict[str, str]], each: int = 3) -> list[tuple[str, dict[str, str]]]:
    """Return the best, median and worst samples by their error, each with the word for it."""
    known = sorted((s for s in samples if not math.isnan(error_of(s))), key=error_of)
    if len(known) < 3 * each:
        return [("", sample) for sample in known]
    middle = (len(known) - each) // 2
    parts = {"best": known[:each], "median": known[middle : middle + each], "worst": known[-each:]}
    return [(word, sample) for word, members in parts.items() for sample in members]


def case(sample: dict[str, str], word: str, budget: Budget) -> str:
    """Return the image of a sample with what was found in it; empty where there is no image."""
    from PIL import Image

    path = sample.get("path", "")
    if not path or not Path(path).is_file():
        return ""
    try:
        array = read_image(path).array
    except MedzooError:
        return ""
    if array.ndim != 2:
        return ""
    low, high = float(array.min()), float(array.max())
    levels = np.rint((array - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    image = Image.fromarray(levels)
    image.thumbnail((_SHOWN, _SHOWN))
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=_QUALITY)
    if not budget.take(packed.getvalue()):
        return ""
    height, width = array.shape
    radius = max(width, height) / 90
    found = points(sample.get("prediction", ""))
    marks = "".join(f'<circle cx="{x + 0.5:.2f}" cy="{y + 0.5:.2f}" r="{radius:.2f}"/>' for x, y in found)
    caption = " · ".join(filter(None, (word, sample["id"], _verdict(sample, bool(found)))))
    picture = (
        f'<svg class="case" role="img" aria-label="{safe(caption)}" viewBox="0 0 {width} {height}">'
        f'<image href="{_data("jpeg", packed.getvalue())}" width="{width}" height="{height}"/>{marks}</svg>'
    )
    return _figure(picture, caption)


def points(text: str) -> list[tuple[float, float]]:
    """Return the points of a prediction in pixels; none where it is something else."""
    try:
        found = json.loads(text)
        return [(float(x), float(y)) for x, y in found if math.isfinite(x) and math.isfinite(y)]
    except (ValueError, TypeError, RecursionError):
        return []


def _verdict(sample: dict[str, str], located: bool) -> str:
    if located:
        return f"error {error_of(sample):.3g} {sample.get('unit', '')}".strip()
    facts = {"label": sample.get("label", ""), "found": sample.get("prediction", ""), "score": sample.get("score", "")}
    return ", ".join(f"{name} {value[:40]}" for name, value in facts.items() if value)


def curve(name: str, values: Sequence[tuple[float, float]]) -> str:
    """Return a logged value by epoch as a small picture."""
    xs, ys = [x for x, _ in values], [y for _, y in values]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    wide, tall = max(right - left, 1e-12), max(high - low, abs(high) * 1e-9, 1e-300)
    places = [
        (_PAD + (x - left) / wide * (_WIDE - 2 * _PAD), _HIGH - 24 - (y - low) / tall * (_HIGH - 48)) for x, y in values
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    first, last = f"{left:g}", f"{right:g}"
    words = f"{name}: {ys[0]:.4g} in epoch {first}, {ys[-1]:.4g} in epoch {last}"
    texts = (
        f'<text x="2" y="16">{high:.4g}</text><text x="2" y="{_HIGH - 22}">{low:.4g}</text>'
        f'<text x="{_PAD}" y="{_HIGH - 6}">epoch {first}</text>'
        f'<text x="{_WIDE - _PAD}" y="{_HIGH - 6}" text-anchor="end">{last}</text>'
    )
    shape = (
        f'<polyline points="{line}"/>'
        if len(values) > 1
        else f'<circle cx="{places[0][0]}" cy="{places[0][1]}" r="3"/>'
    )
    return _figure(
        f'<svg class="curve" role="img" aria-label="{safe(words)}" viewBox="0 0 {_WIDE} {_HIGH}">{shape}{texts}</svg>',
        name,
    )


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{safe(caption)}</figcaption></figure>"


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
