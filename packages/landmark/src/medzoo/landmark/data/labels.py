"""What label files share beyond `core.io.read_table`: points line by line, and tables of unknown columns."""

from __future__ import annotations

from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io import Column, read_table
from medzoo.landmark.data.sources import Points

_LONGEST = 2**20
_XY = (Column("x", "number"), Column("y", "number"))


def point_rows(path: str | Path, count: int, skip: int = 0) -> Points:
    """Read `count` lines of two numbers after `skip` lines; the lines that follow are not looked at.

    Raises:
        DataError: The file is missing, has fewer lines, or one that is not two finite numbers (`file:row:column`).
    """
    table = read_table(path, _XY, header=False, skip=skip, limit=count)
    if len(table) != count:
        raise DataError(path, f"has {len(table)} landmarks, expected {count}", "annotate all of them")
    return table.numbers("x", "y")


def point_table(path: str | Path, count: int, missing: bool = False) -> dict[str, Points]:
    """Read rows `id, x0, y0, x1, y1, …` without a header into `(K, 2)` by id.

    Args:
        path: The CSV file.
        count: Landmarks in each row.
        missing: Empty cells are allowed and become NaN.

    Raises:
        DataError: A row has another number of cells, one that is no number, or an id comes twice.
    """
    names = [f"{axis}{i}" for i in range(count) for axis in "xy"]
    columns = [Column("id"), *(Column(name, "number", optional=missing) for name in names)]
    table = read_table(path, columns, header=False, unique=("id",))
    points = table.numbers(*names).reshape(len(table), count, 2)
    return dict(zip(table.texts("id"), points, strict=True))


def read_count(path: str | Path) -> int:
    """Return the number of points that the first line of a label file states.

    Raises:
        DataError: The file is missing or its first line is not one whole number.
    """
    table = read_table(path, [Column("count", "integer")], header=False, limit=1)
    if not len(table):
        raise DataError(path, "is empty", "annotate the image")
    return int(table.rows[0]["count"])
