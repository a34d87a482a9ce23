from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medzoo.core.phantoms.ct import KINDS, CtPhantom, lung_ct
from medzoo.core.phantoms.ct_fields import smooth_noise
from medzoo.core.phantoms.textures import CATEGORIES, DEFECTS, POSES, Pose, textured

SMALL = (28, 32, 40)
MIDDLE = (40, 46, 58)


def test_the_same_seed_is_the_same_patient_and_another_is_not() -> None:
    first, again, other = lung_ct(1, SMALL), lung_ct(1, SMALL), lung_ct(2, SMALL)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.lungs, other.lungs)


def test_a_healthy_chest_looks_like_one_in_hounsfield_units() -> None:
    made = lung_ct(3, confounders=False)
    inside, outside = made.image[made.lungs], made.image[~made.lungs]
    assert -900 < np.median(inside) < -780
    assert 0.01 < (inside >= -500).mean() < 0.12  # vessels and walls, not more
    assert (outside > 0).any()
    assert np.isclose(outside.min(), -1024, atol=40)
    assert 2.0 < made.lungs.sum() * np.prod(made.spacing) / 1e6 < 6.0  # litres
    assert not made.lesions.any()


def test_healthy_lungs_hold_bright_bodies_as_large_as_lesions_unless_told_otherwise() -> None:
    plain, more = ([lung_ct(seed, MIDDLE, confounders=asked) for seed in range(6)] for asked in (False, True))
    assert all(np.array_equal(a.lungs, b.lungs) for a, b in zip(plain, more, strict=True))
    assert not any(made.lesions.any() for made in more)

    def largest(before: CtPhantom, after: CtPhantom) -> float:  # millilitres of the largest body that was added
        added = ndimage.gaussian_filter(after.image - before.image, 0.7) > 120
        regions, _ = ndimage.label(added & after.lungs)
        return float(np.bincount(regions.ravel(), minlength=2)[1:].max() * np.prod(after.spacing) / 1e3)

    sizes = [largest(*pair) for pair in zip(plain, more, strict=True)]
    assert np.median(sizes) > 4  # a lesion has 1 to 100
    assert all(
        (made.image[made.lungs] > -600).mean() > (other.image[other.lungs] > -600).mean()
        for made, other in zip(more, plain, strict=True)
    )


def test_scanners_differ_in_sharpness_and_noise() -> None:
    grain = [np.diff(made.image[made.image < -950]).std() for made in (lung_ct(seed, SMALL) for seed in range(8))]
    assert max(grain) > 2 * min(grain)


def test_a_patient_at_voxels_of_two_millimetres_is_as_large_as_at_four() -> None:
    fine, coarse = lung_ct(6, (110, 125, 160), ("nodule",)), lung_ct(6, (55, 63, 80), ("nodule",))
    assert fine.spacing == (2.0, 2.0, 2.0)
    litres = [made.lungs.sum() * np.prod(made.spacing) / 1e6 for made in (fine, coarse)]
    assert litres[0] == pytest.approx(litres[1], rel=0.1)
    assert 0.0003 < fine.lesions.astype(bool).sum() * 8e-6 < 0.1


def test_smooth_noise_has_unit_deviation_and_the_asked_smoothness_however_it_is_drawn() -> None:
    rng = np.random.default_rng(0)
    for sigma in (2.0, 6.0, 12.0):  # drawn on every point, every second, every fourth
        fields = [smooth_noise((40, 40, 320), rng, sigma) for _ in range(4)]
        assert [field.std() for field in fields] == pytest.approx([1.0] * 4, abs=1e-3)
        near = int(sigma)
        alike = 1 - np.mean([((f[..., near:] - f[..., :-near]) ** 2).mean() for f in fields]) / 2
        assert alike == pytest.approx(np.exp(-0.25), abs=0.08)


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


def test_a_pose_turns_moves_and_scales_as_far_as_it_says() -> None:
    def spread(pose: Pose) -> tuple[float, float]:  # of place and size of a screw
        found = []
        for seed in range(12):
            image = textured("screw", seed, pose=pose).image
            part = np.abs(image - np.median(image[:, :4], axis=(1, 2), keepdims=True)).max(0) > 0.15
            found.append((*ndimage.center_of_mass(part), part.sum()))
        place = np.array(found)
        return float(place[:, :2].std(axis=0).mean()), float(place[:, 2].std() / place[:, 2].mean())

    still, near, free = (spread(POSES[name]) for name in ("still", "near", "free"))
    assert still[0] < 0.5 < near[0] < free[0]
    assert still[1] < near[1] < free[1]
    mirrored = textured("pill", 3, pose=Pose(180, 0, 0)).image
    assert np.abs(mirrored - textured("pill", 3, pose=POSES["still"]).image).mean() > 0.05


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_defect_changes_nothing_elsewhere_in_any_pose(category: str) -> None:
    for seed, defect in enumerate(DEFECTS):
        clean, spoiled = (textured(category, seed, defect=d, pose=POSES["free"]) for d in ("", defect))
        change = np.abs(spoiled.image - clean.image).max(0)
        assert spoiled.mask.any()
        assert change[~np.asarray(_near(spoiled.mask, 8))].max() < 0.15


def _near(mask: np.ndarray, voxels: int) -> np.ndarray:
    return np.asarray(ndimage.binary_dilation(mask, iterations=voxels))
