"""Simulated tumours: where they are, how bright, how large, and what is left as it was."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from medzoo.anomaly.sim2real.simulate import Simulation, bent, blended, outline, rescaled

SIZE, STEP = (40, 44, 48), (2.0, 2.0, 2.0)
SIMULATION = Simulation((2000.0, 20000.0), (1.0, 3.0))


def parts(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator]:
    """Return a healthy volume, its organ, another volume and a generator."""
    generator = torch.Generator().manual_seed(seed)
    organ = torch.zeros(SIZE, dtype=torch.bool)
    organ[4:-4, 4:-4, 4:-4] = True
    normal = (0.1 + 0.2 * torch.rand(SIZE, generator=generator)) * organ
    return normal, organ, 0.2 + 0.1 * torch.rand(SIZE, generator=generator), generator


@pytest.mark.parametrize("seed", range(5))
def test_a_volume_is_healthy_outside_of_its_tumour_and_its_layer_is_what_is_seen(seed: int) -> None:
    normal, organ, texture, generator = parts(seed)
    made = SIMULATION(normal, organ, texture, STEP, generator)
    assert made.mask.any()
    assert not made.mask[~organ].any()
    assert torch.equal(made.image[~made.mask], normal[~made.mask])
    assert torch.equal(made.normal, normal)
    assert torch.equal(made.tumour, torch.where(made.mask, made.image, 0.0))


def test_what_is_seen_lies_between_tumour_and_healthy_tissue_for_every_share() -> None:
    normal, organ, texture, _ = parts(0)
    for share in (0.2, 0.5, 0.8):
        seen = blended(normal, texture, organ, share)
        low, high = torch.minimum(normal, texture), torch.maximum(normal, texture)
        assert ((seen >= low - 1e-6) & (seen <= high + 1e-6))[organ].all()
        assert torch.equal(seen[~organ], normal[~organ])
    assert blended(normal, texture * 100, organ, 0.8).max() == 1


@pytest.mark.parametrize("contrast", [1.0, 2.0, 3.0])
def test_a_tumour_has_the_contrast_that_was_drawn(contrast: float) -> None:
    normal, organ, texture, _ = parts(1)
    found = rescaled(texture, normal, organ, contrast)[organ].mean() / normal[normal != 0].mean()
    assert found.item() == pytest.approx(contrast, rel=1e-4)


@pytest.mark.parametrize("volume", [3000.0, 20000.0])
def test_an_outline_has_the_volume_that_was_drawn_within_a_factor_of_two_and_is_one_piece(volume: float) -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(12):
        mask = outline((48, 48, 48), (24, 24, 24), volume, STEP, generator)
        assert volume / 2 < float(mask.sum()) * 8 < volume * 2
        regions, _ = ndimage.label(mask.numpy())
        assert (regions == regions[24, 24, 24]).sum() > 0.99 * mask.sum()


def test_outlines_keep_their_size_in_millimetres_on_other_voxels() -> None:
    fine = outline((48, 48, 48), (24, 24, 24), 9000, (2, 2, 2), torch.Generator().manual_seed(5))
    flat = outline((16, 48, 48), (8, 24, 24), 9000, (6, 2, 2), torch.Generator().manual_seed(5))
    assert float(flat.sum()) * 3 == pytest.approx(float(fine.sum()), rel=0.1)


def test_outlines_are_rippled_and_differ() -> None:
    generator = torch.Generator().manual_seed(2)
    one, other = (outline((48, 48, 48), (24, 24, 24), 20000, STEP, generator) for _ in range(2))
    assert not torch.equal(one, other)
    filled = ndimage.binary_closing(one.numpy(), iterations=4)
    assert filled.sum() > 1.02 * one.sum()  # an ellipsoid closes to itself


def test_bending_moves_tissue_in_the_middle_and_leaves_the_border_and_a_flat_volume() -> None:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 48)[None, None].expand(40, 44, 48).contiguous()
    moved = bent(ramp, STEP, generator)
    assert (moved[20, 22] - ramp[20, 22]).abs().max() > 0.01
    assert torch.allclose(moved[0, 0, 8:-8], ramp[0, 0, 8:-8], atol=1e-3)
    assert torch.allclose(bent(torch.full(SIZE, 0.3), STEP, generator), torch.tensor(0.3), atol=1e-5)


def test_volumes_are_drawn_evenly_or_by_their_logarithm() -> None:
    def small(even: bool) -> int:
        count = 0
        for seed in range(40):
            normal, organ, texture, generator = parts(seed)
            made = Simulation((200.0, 50000.0), (2.0, 2.0), even=even)(normal, organ, texture, STEP, generator)
            count += int(made.mask.sum() * 8 < 3000)
        return count

    assert small(even=False) > 12 > 6 > small(even=True)


def test_the_same_generator_gives_the_same_tumour_and_no_organ_none() -> None:
    first, second = (SIMULATION(*parts(4)[:3], STEP, parts(4)[3]) for _ in range(2))
    assert torch.equal(first.image, second.image)
    normal, organ, texture, generator = parts(4)
    none = SIMULATION(normal, torch.zeros_like(organ), texture, STEP, generator)
    assert not none.mask.any()
    assert torch.equal(none.image, normal)


def test_a_share_of_the_volumes_stays_healthy() -> None:
    parted = Simulation((2000.0, 20000.0), (1.0, 3.0), none=0.4)
    without = 0
    for seed in range(40):
        normal, organ, texture, generator = parts(seed)
        without += int(not parted(normal, organ, texture, STEP, generator).mask.any())
    assert 8 <= without <= 24
