"""The rim of the organ: taken away before the network looks, as scipy's distances say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medzoo.anomaly.normnet.module import NormNet
from medzoo.anomaly.normnet.rim import without_rim

TINY = {"widths": [4, 8], "patch": [16, 16, 16], "members": 1}


def lungs(seed: int) -> torch.Tensor:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((12, 40, 44)), (2, 5, 5))
    return torch.from_numpy(field > 0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 0.7), (1.0, 0.8, 1.3)])
def test_the_rim_is_what_lies_within_its_width_of_the_outside_in_plane(spacing: tuple[float, float, float]) -> None:
    organ = lungs(0)
    kept = without_rim(torch.zeros(organ.shape), organ, 0.5, 2.0, spacing)
    for plane, found in zip(organ.numpy(), kept.numpy(), strict=True):
        far = ndimage.distance_transform_edt(plane, sampling=spacing[1:]) > 2.0 + 1e-6
        assert np.array_equal(found, far if not plane.all() else plane)
    assert kept.any()
    assert (organ & ~kept).any()


def test_wide_voxels_have_no_rim() -> None:
    organ = lungs(1)
    assert without_rim(torch.rand(organ.shape), organ, 0.3, 2.0, (4, 4, 4)) is organ


def test_bright_bodies_at_the_rim_go_where_they_are_thin_and_stay_where_they_are_thick_or_inside() -> None:
    organ = torch.zeros(8, 40, 40, dtype=torch.bool)
    organ[:, 4:36, 4:36] = True  # inner part: 6 to 34
    image = torch.zeros(organ.shape)
    shell, lesion, line = (torch.zeros_like(organ) for _ in range(3))
    shell[2:6, 6, 10:20] = True  # partial volume of the wall, one voxel thick
    lesion[2:6, 6:12, 24:30] = True
    line[4, 20, 12:30] = True
    image[shell | lesion | line] = 0.9
    image[4, 12:14, 27] = 0.9  # a thin strand of the lesion
    kept = without_rim(image, organ, 0.5, 2.0, (1, 1, 1))
    assert not kept[shell].any()
    assert kept[lesion].all()
    assert kept[line].all()
    assert kept[4, 12:14, 27].all()
    # All bodies by hand: a label at a time.
    inner = ndimage.binary_erosion(organ.numpy(), np.ones((1, 5, 5))) | (organ.numpy() & kept.numpy())
    regions, count = ndimage.label(inner & (image.numpy() > 0.5), np.ones((3, 3, 3)))
    assert count == 3
    assert sorted(bool((kept.numpy() | (regions != n)).all()) for n in range(1, count + 1)) == [False, True, True]


def test_the_network_sees_no_rim_but_masks_grow_back_into_it() -> None:
    torch.manual_seed(0)
    net = NormNet(**TINY, preset_threshold=0.5, smallest_mm3=0).eval()
    seen: list[torch.Tensor] = []
    net.networks[0].register_forward_hook(lambda _, inputs, logits: (seen.append(inputs[0]), logits * 0 - 4)[1])
    organ = torch.zeros(16, 24, 24, dtype=torch.bool)
    organ[:, 4:20, 4:20] = True
    hu = torch.full(organ.shape, -850.0)
    hu[:, 4:12, 4:12] = -200.0  # a lesion at the border of the organ
    score, mask = net.segment(hu, organ, [1.0, 1.0, 1.0])
    assert all((x == 0).float().mean() > 0.5 for x in seen)
    assert mask[4:12, 6:12, 6:12].all()
    assert mask[4:12, 4:6, 6:10].any()
    assert not mask[~organ].any()
    assert not score[~organ].any()
    assert torch.equal(net.inner(hu, organ, [1.0, 1.0, 1.0])[0, 4:20, 4:20].nonzero().amin(0), torch.tensor([2, 2]))
