from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medzoo.anomaly.lesions import (
    PRESETS,
    LesionGenerator,
    ShapeRange,
    filtered,
    lesion_shape,
    salt,
    salt_probability,
)
from medzoo.anomaly.lesions.draws import gaussian
from medzoo.anomaly.lesions.textures import scaled, texture

ORGAN = torch.zeros(24, 32, 32, dtype=torch.bool)
ORGAN[4:20, 5:27, 6:26] = True
HEALTHY = torch.rand(24, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.3 * ORGAN
LUNG = replace(PRESETS["lung"], none=0.0)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**31), st.sampled_from(sorted(PRESETS)), st.sampled_from([(1, 1, 1), (5, 2, 2), (4, 4, 4)]))
@settings(max_examples=10, deadline=None)
def test_nothing_outside_of_the_organ_or_of_the_lesions_changes(
    seed: int, preset: str, spacing: tuple[int, ...]
) -> None:
    made = PRESETS[preset](HEALTHY, ORGAN, spacing, drawn(seed))
    assert made.image.min() >= 0
    assert made.image.max() <= 1
    assert not (made.mask & ~ORGAN).any()
    reach = [2 * max(1, int(4 * PRESETS[preset].border[1] / s + 0.5)) + 1 for s in spacing]  # of the soft border
    near = ndimage.maximum_filter(made.mask.numpy(), reach)
    assert not made.contribution.numpy()[~near].any()
    untouched = made.contribution == 0
    assert torch.equal(made.image[untouched], HEALTHY[untouched])  # bit by bit
    assert not made.contribution[~ORGAN].any()
    assert (made.contribution * PRESETS[preset].sign >= 0).all()


def test_the_same_seed_makes_the_same_lesions_and_another_does_not() -> None:
    first, again, other = (LUNG(HEALTHY, ORGAN, (4, 4, 4), drawn(s)) for s in (5, 5, 6))
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.mask, other.mask)


def test_one_volume_in_ten_gets_no_lesion() -> None:
    empty = [not PRESETS["lung"].outlines(ORGAN, (4, 4, 4), drawn(seed)).any() for seed in range(300)]
    assert 0.05 < np.mean(empty) < 0.16


def test_density_of_salt_reaches_from_its_floor_over_its_spread() -> None:
    field = torch.rand(20, 20, 20, generator=drawn(0))
    density = salt_probability(field, (3, 3, 3), spread=0.2, floor=0.05)
    assert density.min().item() == pytest.approx(0.05, abs=1e-6)
    assert density.max().item() == pytest.approx(0.25, abs=1e-6)
    steep = salt_probability(field, (3, 3, 3), 0.2, 0.05, power=4)
    assert steep.mean() < density.mean()  # clusters become rare
    assert salt(torch.full((50, 50, 50), 0.2), drawn(1)).mean().item() == pytest.approx(0.2, abs=0.01)


@given(st.integers(0, 1000), st.floats(0.2, 0.9))
@settings(max_examples=15, deadline=None)
def test_scaling_puts_the_mean_of_what_counts_where_it_was_asked(seed: int, level: float) -> None:
    noise = gaussian((torch.rand(18, 18, 18, generator=drawn(seed)) < 0.2).double(), (1, 1, 1))
    result = scaled(noise, level, cut=0.12)
    assert result[noise > 0.12].mean().item() == pytest.approx(level, abs=1e-6)


def test_stronger_smoothing_gives_a_calmer_texture() -> None:
    noise = (torch.rand(40, 40, 40, generator=drawn(3)) < 0.15).float()
    spreads = [filtered(noise, (s, s, s), 0.5, 0.12).std().item() for s in (0.5, 1, 2, 4)]
    assert spreads == sorted(spreads, reverse=True)


@pytest.mark.parametrize("sigma", [(0.7, 2.0, 1.1), (5.0, 0.0, 3.0)])  # the second reaches beyond the far border
def test_gaussian_agrees_with_scipy(sigma: tuple[float, ...]) -> None:
    field = torch.rand(9, 14, 11, generator=drawn(2), dtype=torch.float64)
    expected = ndimage.gaussian_filter(field.numpy(), sigma)
    assert np.allclose(gaussian(field, sigma).numpy(), expected, atol=1e-9)


def test_larger_classes_make_larger_lesions() -> None:
    volumes = [
        np.mean([lesion_shape(kind, (2, 2, 2), drawn(seed)).sum().item() for seed in range(12)])
        for kind in PRESETS["lung"].sizes
    ]
    assert volumes == sorted(volumes)
    assert volumes[1] / volumes[0] > 4  # eight in theory


def test_lesions_keep_their_size_in_millimetres_whatever_the_spacing() -> None:
    kind = ShapeRange(16, (3, 6), (1, 1))
    fine = np.mean([lesion_shape(kind, (1.5, 1.5, 1.5), drawn(s)).sum().item() * 1.5**3 for s in range(10)])
    thick = np.mean([lesion_shape(kind, (5, 1.5, 1.5), drawn(s)).sum().item() * 5 * 1.5**2 for s in range(10)])
    assert 0.8 < fine / thick < 1.25


def test_bending_takes_the_ellipsoid_out_of_shape() -> None:
    kind = ShapeRange(16, (5, 6), (1, 1))
    plain, bent = lesion_shape(kind, (2, 2, 2), drawn(1), deform=False), lesion_shape(kind, (2, 2, 2), drawn(1))
    assert torch.equal(plain, plain.flip((0, 1, 2)))  # an ellipsoid is symmetric about its centre
    assert (bent != bent.flip((0, 1, 2))).float().mean() > 0.01


def test_operators_can_be_left_out_one_by_one() -> None:
    arguments = ((16, 16, 16), PRESETS["lung"].textures, (2, 2, 2))
    assert texture(*arguments, drawn(0), salted=False).unique().numel() == 1
    raw = texture(*arguments, drawn(0), smoothed=False)
    assert set(raw.unique().tolist()) <= {0.0, 1.0}


def test_wrong_shapes_and_spacing_are_refused() -> None:
    with pytest.raises(ValueError, match="organ"):
        LesionGenerator()(HEALTHY, ORGAN[1:], (1, 1, 1), drawn(0))
    with pytest.raises(ValueError, match="spacing"):
        LesionGenerator()(HEALTHY, ORGAN, (1, 0, 1), drawn(0))


def test_an_empty_organ_gets_no_lesion() -> None:
    made = LUNG(HEALTHY, torch.zeros_like(ORGAN), (4, 4, 4), drawn(0))
    assert torch.equal(made.image, HEALTHY)


def test_the_monai_transform_is_seeded_and_writes_the_mask() -> None:
    from medzoo.anomaly.lesions.transform import SyntheticLesionsd

    sample = {"image": HEALTHY[None], "organ_mask": ORGAN[None].float()}
    made = [SyntheticLesionsd("lung", (4, 4, 4)).set_random_state(3)(sample) for _ in range(2)]
    assert torch.equal(made[0]["image"], made[1]["image"])
    assert made[0]["lesion_mask"].shape == (1, 24, 32, 32)
    assert torch.equal(sample["image"][0], HEALTHY)  # the input stays
    with pytest.raises(ValueError, match="preset"):
        SyntheticLesionsd("kidney")


@pytest.mark.parametrize(("step", "side"), [(1.0, 5), (0.7, 5), (2.0, 3), (4.0, 1)])
def test_centres_lie_in_the_organ_eroded_in_plane_as_scipy_erodes_it(step: float, side: int) -> None:
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((6, 40, 40)), (1, 4, 4))
    organ = torch.from_numpy(field > 0)
    found = PRESETS["lung"].centres(organ, (3.0, step, step))
    assert np.array_equal(
        found.numpy(), ndimage.binary_erosion(organ.numpy(), np.ones((1, side, side)), border_value=1)
    )


def test_centres_of_an_organ_thinner_than_the_erosion_are_all_of_it() -> None:
    organ = torch.zeros(4, 20, 20, dtype=torch.bool)
    organ[:, 8:10, 3:17] = True
    assert torch.equal(PRESETS["lung"].centres(organ, (1, 1, 1)), organ)
