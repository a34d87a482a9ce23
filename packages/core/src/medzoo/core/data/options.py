"""The options that a data module passes on to its base class, as types.

A data module lists its own options and passes all others on: `def __init__(self, root: str, **common:
Unpack[DataOptions])`, and in it `super().__init__(**common)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from typing import Unpack as Unpack
else:

    class Unpack:
        """`typing.Unpack` for type checkers; `object` when run.

        jsonargparse takes what `typing.Unpack` names from the `TypedDict`, which has no defaults; without it, from the
        signature of the base class, which has them.
        """

        def __class_getitem__(cls, options: type) -> type:
            return object


class DataOptions(TypedDict, total=False):
    """Those of `MedzooDataModule`."""

    size: int | list[int] | None
    batch_size: int | None
    num_workers: int
    seed: int
