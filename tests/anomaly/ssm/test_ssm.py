from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.anomaly.ssm.losses import gradient_loss, mask_loss, restoration_loss, similarity_map
from medzoo.anomaly.ssm.masks import masks, restored
from medzoo.anomaly.ssm.module import SSM
from medzoo.anomaly.ssm.network import MaskedUNet
from medzoo.core.errors import ConfigError
from medzoo.core.metrics.anomaly import auroc


def smooth_images(count: int, side: int = 32, seed: int = 0) -> Tensor:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, side, mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("cell", [2, 4, 8])
def test_every_pixel_is_hidden_exactly_once(cell: int) -> None:
    found = masks((64, 48), cell, torch.Generator().manual_seed(0))  # 768, 192 and 48 cells
    assert torch.equal((1 - found).sum(0), torch.ones(64, 48))
    square = masks((64, 64), cell)  # 1024, 256 and 64 cells: no multiples of three
    assert torch.equal((1 - square).sum(0), torch.ones(64, 64))
    assert (1 - square).mean().item() == pytest.approx(1 / 3, abs=0.01)
    tiles = F.avg_pool2d(square, cell)
    assert set(tiles.unique().tolist()) == {0.0, 1.0}


def test_it_has_the_size_of_the_public_code() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in MaskedUNet().parameters()) == 33_301_188


def test_hidden_pixels_leave_no_trace_and_restorations_come_from_hidden_parts_alone() -> None:
    torch.manual_seed(0)
    net = MaskedUNet(4).eval()
    image, shown = smooth_images(2), masks((32, 32), 4)
    other = image + (1 - shown[0]) * torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        first, second = (net(x * shown[0], shown[:1].expand(2, -1, -1, -1))[0] for x in (image, other))
        whole, found = restored(net, image, shown.expand(2, -1, -1, -1))
    assert torch.equal(first, second)
    hidden = (1 - shown[0]).bool().expand(2, 3, -1, -1)
    assert torch.allclose(whole[hidden], first[hidden], atol=1e-5)
    assert found.shape == (2, 3, 32, 32)


def test_the_mask_acts_through_its_blocks_alone() -> None:
    torch.manual_seed(0)
    net = MaskedUNet(4).eval()
    image, one, other = smooth_images(1), *(masks((32, 32), 4)[i : i + 1, None] for i in (0, 1))
    assert not torch.allclose(net(image, one)[0], net(image, other)[0], atol=1e-4)
    for block in net.masked:
        torch.nn.init.zeros_(block.change.weight)
        torch.nn.init.zeros_(block.change.bias)
    assert torch.equal(net(image, one)[0], net(image, other)[0])


def test_equal_images_have_no_loss_and_the_heat_of_the_public_code() -> None:
    image = smooth_images(2, 64)
    assert gradient_loss(image, image).item() == pytest.approx(0, abs=1e-6)
    assert restoration_loss(image, image).item() == pytest.approx(0, abs=1e-5)
    likeness = similarity_map(image, image)
    assert torch.allclose(likeness, torch.ones_like(likeness))
    # The public code: Σ over cells of (1 − 4·likeness) / 4 / N², times 255, of 128 pixels and cells of 2, 4 and 8.
    heat = sum(255 * (1 - 4 * 1.0) / 4 / (128 // cell) ** 2 for cell in (2, 4, 8))
    assert heat == pytest.approx(-0.9805, abs=1e-4)
    limit = sum(255 * (1 - 4 * 0.9843) / 4 / (128 // cell) ** 2 for cell in (2, 4, 8))
    assert limit == pytest.approx(-0.96, abs=2e-4)  # its constant is this module's threshold


def test_gradients_of_flat_images_are_finite() -> None:
    made = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    restoration_loss(made, torch.full((1, 3, 32, 32), 0.4)).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


def test_only_the_loss_of_the_masks_reaches_their_head() -> None:
    torch.manual_seed(0)
    net = MaskedUNet(4)
    image, shown = smooth_images(2), masks((32, 32), 4).expand(2, -1, -1, -1)
    for use_masks in (False, True):
        net.zero_grad()
        made, found = restored(net, image, shown)
        (mask_loss(found, shown) if use_masks else restoration_loss(made, image)).backward()
        assert net.head.weight.grad is not None
        image_part, mask_part = net.head.weight.grad[:3], net.head.weight.grad[3:]
        assert bool(mask_part.abs().sum() > 0) == use_masks
        assert bool(image_part.abs().sum() > 0) != use_masks


def test_tiles_found_normal_are_uncovered_and_have_no_error_in_the_next_round() -> None:
    torch.manual_seed(0)
    net = SSM(size=64, width=4, rounds=2, smooth=1.0).eval()
    image = smooth_images(1, 64)
    likeness = torch.zeros(1, 64, 64)
    likeness[:, :24, :32] = 0.99
    likeness[:, 24:26, :32] = 0.99  # a quarter of a tile is too little
    free = net.uncovered(likeness)
    assert torch.equal(free[0, 0].nonzero().amax(0), torch.tensor([23, 31]))
    shown = [torch.maximum(one, free) for one in net.drawn(1, image)]
    with torch.no_grad():
        for one in shown:
            made, _ = restored(net.net, image, one)
            assert torch.equal(made[..., :24, :32], image[..., :24, :32])
        again, covered = net.judged(image, shown), net.judged(image, net.drawn(1, image))
    assert again.errors.item() < covered.errors.item()
    assert again.likeness[0, 4:16, 4:24].mean() > covered.likeness[0, 4:16, 4:24].mean()


def test_scores_do_not_depend_on_chance_or_on_the_other_images() -> None:
    torch.manual_seed(0)
    net = SSM(size=32, width=4, tile=4).eval()
    images = smooth_images(3)
    with torch.no_grad():
        parts, maps = net.parts(images)
        torch.manual_seed(5)
        again, _ = net.parts(images)
        alone, map_alone = net.parts(images[1:2])
    assert torch.equal(parts, again)
    assert torch.allclose(alone[0], parts[1], atol=1e-5)
    assert torch.allclose(map_alone[0], maps[1], atol=1e-5)


def test_wrong_options_are_refused_in_one_line() -> None:
    for wrong, text in (
        ({"size": 40}, "multiples of 16"),
        ({"size": 16}, "at least 32"),
        ({"cells": [3]}, "cells"),
        ({"tile": 5}, "tile"),
        ({"rounds": 0}, "rounds"),
        ({"false_alarms": 1.0}, "false_alarms"),
    ):
        with pytest.raises(ConfigError, match=text):
            SSM(**{"width": 4, **wrong})


def stripes(count: int) -> Tensor:
    phase = torch.rand(count, 1, 1, 1) * 6.28
    lines = 0.5 + 0.4 * torch.sin(torch.arange(32) * 0.8 + phase)
    return (lines.expand(count, 3, 32, 32) + 0.02 * torch.randn(count, 3, 32, 32)).clamp(0, 1)


@pytest.mark.slow
def test_uncovering_what_is_normal_helps_to_find_a_blob_on_stripes() -> None:
    torch.manual_seed(0)
    net = SSM(size=32, width=8, tile=4, smooth=1.5)
    net.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(120):
        optimizer.zero_grad()
        net.training_step({"image": stripes(8)}, 0).backward()
        optimizer.step()
    net.eval()
    torch.manual_seed(9)
    normal, images, labels = stripes(60), stripes(60), torch.arange(60) % 2
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    for index in range(1, 60, 2):
        near = ((y - 6 - index % 20).square() + (x - 16).square() < 14).float()
        images[index] = images[index] * (1 - 0.6 * near) + 0.3 * near
    found = {}
    for net.rounds in (1, 2):
        with torch.no_grad():
            parts, known = net.parts(images)[0], net.parts(normal)[0]
        found[net.rounds] = auroc(net.joined(parts, torch.stack([known.mean(0), known.std(0)])), labels)
    assert found[2] > 0.7
    assert found[2] > found[1] + 0.05
