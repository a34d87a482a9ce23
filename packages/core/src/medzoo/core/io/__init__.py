"""Reading and writing files: images with header and spacing, tables, results; every failure to read is a `DataError`.

Axes: arrays are indexed `[channel, (z,) y, x]`; sizes, spacings and coordinates go the opposite way, `(x, y[, z])`.
"""

from __future__ import annotations

from medzoo.core.io.files import read_json, read_object, replacing, write_csv, write_image, write_json
from medzoo.core.io.image import read_header, read_image
from medzoo.core.io.kinds import is_image
from medzoo.core.io.spacing import spacing_fault
from medzoo.core.io.tables import Column, Table, read_table
from medzoo.core.io.types import EXTENSIONS, Header, Image
from medzoo.core.names import csv_cell, csv_text, figure_text, file_name, markdown_cell, printable

__all__ = [
    "EXTENSIONS",
    "Column",
    "Header",
    "Image",
    "Table",
    "csv_cell",
    "csv_text",
    "figure_text",
    "file_name",
    "is_image",
    "markdown_cell",
    "printable",
    "read_header",
    "read_image",
    "read_json",
    "read_object",
    "read_table",
    "replacing",
    "spacing_fault",
    "write_csv",
    "write_image",
    "write_json",
]
