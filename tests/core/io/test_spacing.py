from __future__ import annotations

import math

import pytest

from medzoo.core.io import spacing_fault


@pytest.mark.parametrize("spacing", [(0.143, 0.143), (0.001, 20.0), (0.7, 0.7, 5.0), (math.nan, math.nan), ()])
def test_spacings_of_medical_images_and_unknown_ones_are_no_fault(spacing: tuple[float, ...]) -> None:
    assert spacing_fault(spacing) is None


@pytest.mark.parametrize(
    ("spacing", "told"),
    [
        ((143.0, 143.0), "143 x 143 mm a pixel.*micrometres"),
        ((0.000143, 0.000143), "0.000143 x 0.000143 mm a pixel.* metres"),
        ((0.7, 0.7, 5000.0), "5000 mm.*micrometres"),
        ((0.0, 1.0), "impossible spacing 0 x 1 mm"),
        ((-1.0, 1.0), "impossible"),
        ((math.inf, 1.0), "impossible"),
        ((math.nan, 143.0), "143 mm"),
    ],
)
def test_spacings_that_cannot_be_are_told_with_the_unit_they_may_be_in(spacing: tuple[float, ...], told: str) -> None:
    import re

    fault = spacing_fault(spacing)
    assert fault is not None
    assert re.search(told, fault), fault
