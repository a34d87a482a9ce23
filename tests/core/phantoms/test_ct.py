from __future__ import annotations

import numpy as np
import pytest

from medzoo.core.phantoms.ct import KINDS, lung_ct
from medzoo.core.phantoms.textures import CATEGORIES, DEFECTS, textured

SMALL = (28, 32, 40)
MIDDLE = (40, 46, 58)


def test_the_same_seed_is_the_same_patient_and_another_is_not() -> None:
    first, again, other = lung_ct(1, SMALL), lung_ct(1, SMALL), lung_ct(2, SMALL)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.lungs, other.lungs)


def test_a_healthy_chest_looks_like_one_in_hounsfield_units() -> None:
    made = lung_ct(3)
    inside, outside = made.image[made.lungs], made.image[~made.lungs]
    assert -900 < np.median(inside) < -780
    assert 0.01 < (inside >= -500).mean() < 0.12  # vessels and walls, not more
    assert (outside > 0).any()
    assert np.isclose(outside.min(), -1024, atol=40)
    assert 2.0 < made.lungs.sum() * np.prod(made.spacing) / 1e6 < 6.0  # litres
    assert not made.lesions.any()


@pytest.mark.parametrize("kind", KINDS)
def test_lesions_lie_in_the_lungs_are_denser_and_change_nothing_elsewhere(kind: str) -> None:
    healthy, ill = lung_ct(4, MIDDLE), lung_ct(4, MIDDLE, (kind,))
    lesion = ill.lesions > 0
    assert lesion.any()
    assert not (lesion & ~ill.lungs).any()
    assert set(np.unique(ill.lesions)) == {0, 1 + KINDS.index(kind)}
    assert np.array_equal(healthy.lungs, ill.lungs)
    assert (ill.image - healthy.image)[lesion].mean() > 80
    changed = np.abs(ill.image - healthy.image) > 1
    far = ~np.asarray(_near(lesion, 5))
    assert not (changed & far).any()


def test_consolidation_is_denser_than_ground_glass() -> None:
    glass, solid = (lung_ct(5, MIDDLE, (kind,)) for kind in ("ground-glass", "consolidation"))
    assert solid.image[solid.lesions > 0].mean() > glass.image[glass.lesions > 0].mean() + 200


def test_unknown_kinds_and_tiny_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match="kinds"):
        lung_ct(0, SMALL, ("pneumothorax",))
    with pytest.raises(ValueError, match="size"):
        lung_ct(0, (8, 32, 32))


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_defect_changes_the_picture_where_the_mask_says_and_nowhere_else(category: str) -> None:
    clean = textured(category, 7)
    assert clean.image.shape == (3, 128, 128)
    assert 0 <= clean.image.min() <= clean.image.max() <= 1
    assert not clean.mask.any()
    for defect in DEFECTS:
        spoiled = textured(category, 7, defect=defect)
        change = np.abs(spoiled.image - clean.image).max(0)
        assert spoiled.mask.any()
        assert change[spoiled.mask].mean() > 0.02
        assert change[~np.asarray(_near(spoiled.mask, 8))].max() < 0.15
        assert 5e-5 < spoiled.mask.mean() < 0.15


def test_pictures_of_a_category_differ_in_pose() -> None:
    assert np.abs(textured("gear", 1).image - textured("gear", 2).image).mean() > 0.02


def _near(mask: np.ndarray, voxels: int) -> np.ndarray:
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=voxels))
