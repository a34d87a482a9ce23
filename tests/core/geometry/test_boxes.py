"""The box around a mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medzoo.core.geometry.boxes import box_of


def mask(*voxels: tuple[int, int, int]) -> NDArray[np.bool_]:
    """A volume 6 × 7 × 8 in which these voxels belong to something."""
    marked = np.zeros((6, 7, 8), dtype=bool)
    for voxel in voxels:
        marked[voxel] = True
    return marked


@pytest.mark.parametrize(
    ("voxels", "margin", "box"),
    [
        ([(2, 3, 4)], 0, (slice(2, 3), slice(3, 4), slice(4, 5))),
        ([(2, 3, 4), (4, 1, 4)], 0, (slice(2, 5), slice(1, 4), slice(4, 5))),
        ([(2, 3, 4)], 2, (slice(0, 5), slice(1, 6), slice(2, 7))),
        ([(0, 0, 0), (5, 6, 7)], 3, (slice(0, 6), slice(0, 7), slice(0, 8))),
        ([], 1, (slice(0, 6), slice(0, 7), slice(0, 8))),
    ],
)
def test_the_box_is_tight_within_its_margin_and_the_volume(
    voxels: list[tuple[int, int, int]], margin: int, box: tuple[slice, slice, slice]
) -> None:
    assert box_of(mask(*voxels), margin) == box


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 7)), min_size=1, max_size=6))
def test_nothing_lies_outside_and_every_face_touches_something(voxels: list[tuple[int, int, int]]) -> None:
    marked = mask(*voxels)
    inside = marked[box_of(marked)]
    assert inside.sum() == marked.sum()
    for axis in range(3):
        used = inside.any(axis=tuple(other for other in range(3) if other != axis))
        assert used[0]
        assert used[-1]
