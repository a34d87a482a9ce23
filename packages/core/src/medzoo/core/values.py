"""Types of plain values: the cells of tables, and what settings and recipes hold."""

from __future__ import annotations

from typing import TypeAlias, TypedDict

Row: TypeAlias = dict[str, str | float]
"""A row of a table by column; an empty text where there is no value."""


class Part(TypedDict, total=False):
    """A part of a configuration that names a plug-in."""

    class_path: str
    init_args: dict[str, object]


class Recipe(TypedDict, total=False):
    """A packaged configuration, see `medzoo.core.recipes`."""

    model: Part
    data: Part
    trainer: dict[str, object]
