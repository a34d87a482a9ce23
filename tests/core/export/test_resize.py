"""The resize within a graph is medzoo's own, for every size and both ways of fitting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.core.export.resize import Fit, enlarge
from medzoo.core.geometry import fit_affine, resample, resize_affine
from medzoo.core.tasks.anomaly import enlarged

SIDES = st.integers(1, 160)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(1, 70), st.integers(1, 70), st.booleans())
def test_it_is_the_resample_of_the_data_modules(height: int, width: int, rows: int, columns: int, pad: bool) -> None:
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height * width))
    seen, scale, shift = Fit((rows, columns), pad)(image)
    affine = (fit_affine if pad else resize_affine)((width, height), (columns, rows))
    np.testing.assert_allclose(scale.numpy(), np.diag(affine[:, :2]), rtol=1e-12)
    np.testing.assert_allclose(shift.numpy(), affine[:, 2], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(seen, resample(image, affine, (columns, rows)), rtol=0, atol=5e-6)


def test_it_changes_nothing_at_the_size_of_the_network() -> None:
    image = torch.rand(1, 1, 33, 47)
    assert torch.equal(Fit((33, 47))(image)[0], image)


@pytest.mark.parametrize("size", [(5, 9), (31, 17), (64, 64), (7, 301)])
def test_maps_are_enlarged_as_those_of_predictions(size: tuple[int, int]) -> None:
    maps = torch.rand(2, 31, 17)
    given = torch.zeros(2, 3, *size)
    wanted = torch.stack([enlarged(heat, size) for heat in maps])
    torch.testing.assert_close(enlarge(maps, given), wanted, rtol=0, atol=2e-6)
