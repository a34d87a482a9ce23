"""CVAT's XML «CVAT for images 1.1»: points count from the corner of the first pixel."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from medzoo.core.errors import DataError
from medzoo.core.io.listing import stem

_MOST = 2**27  # bytes
_CURE = "export the task anew as CVAT for images 1.1"


def cvat_points(path: Path) -> tuple[dict[str, dict[str, tuple[float, float]]], dict[str, tuple[int, int]]]:
    """Return points by label by image, and the sizes of the images.

    Each `points` with one place is a landmark, on its own or in a `skeleton`; those that are marked as outside are
    missing. Shapes of other kinds are passed over.

    Raises:
        DataError: The file is damaged or not of CVAT, or an image has two points of a label.
    """
    named: dict[str, dict[str, tuple[float, float]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for image in _root(path).iter("image"):
        name = stem(image.get("name", ""))
        if not name or name in named:
            raise DataError(path, f"has an image without a name, or two called {name!r}", _CURE)
        named[name] = {}
        for shape in image.iter("points"):
            label = shape.get("label", "")
            if not label or label in named[name]:
                raise DataError(path, f"image {name} has two points {label!r}, or one without label", "keep one")
            named[name][label] = _place(path, name, shape)
        width, height = (image.get(side, "") for side in ("width", "height"))
        if width.isdecimal() and height.isdecimal() and int(width) and int(height):
            sizes[name] = int(width), int(height)
    return named, sizes


def _root(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content or len(content) > _MOST:
            raise ElementTree.ParseError("it defines a document type or is too large")
        root = ElementTree.fromstring(content)  # noqa: S314 - without a document type nothing can be expanded
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise DataError(path, f"cannot be read as XML ({error})", _CURE) from error
    if root.tag != "annotations":
        raise DataError(path, f"begins with {root.tag}, expected annotations", _CURE)
    return root


def _place(path: Path, name: str, shape: ElementTree.Element) -> tuple[float, float]:
    if shape.get("outside") == "1":
        return math.nan, math.nan
    text = shape.get("points", "")
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        problem = f"image {name}: {shape.get('label')}: expected one place x,y, got {text[:60]!r}"
        raise DataError(path, problem, "give each landmark a label of its own")
    return x - 0.5, y - 0.5


def cvat_text(images: list[tuple[str, tuple[int, int] | None, dict[str, tuple[float, float]]]]) -> bytes:
    """Return the XML of images with their file name, size and points; a missing point is left out."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, (name, size, points) in enumerate(images):
        sides = {"width": str(size[0]), "height": str(size[1])} if size else {}
        image = ElementTree.SubElement(root, "image", {"id": str(number), "name": name, **sides})
        for label, (x, y) in points.items():
            place = {"label": label, "points": f"{x + 0.5:.4f},{y + 0.5:.4f}", "occluded": "0", "z_order": "0"}
            ElementTree.SubElement(image, "points", place)
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content
