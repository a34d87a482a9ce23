from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.landmark.gu2net import network as module
from medzoo.landmark.gu2net.losses import patch_loss, patch_target
from medzoo.landmark.gu2net.network import GlobalNet, GU2NetNetwork, LocalNet, product_logits
from medzoo.landmark.gu2net.nudge import Nudge
from medzoo.landmark.networks.routing import SeparableDoubleConv

COUNTS = (3, 4, 2)


def network() -> GU2NetNetwork:
    torch.manual_seed(0)
    return GU2NetNetwork(COUNTS, width=4, global_width=6)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_those_of_the_paper() -> None:
    with torch.device("meta"):  # only the counts matter
        full = GU2NetNetwork((19, 37, 6))
        assert parameters(full) == 4_381_052
        assert parameters(full.local) == 2_117_630
        assert parameters(full.globals) == 2_263_422
        assert parameters(LocalNet((19,))) == pytest.approx(1.99e6, abs=1e4)


@pytest.mark.parametrize(
    ("training", "values"),
    [(True, [-1.95438447, -12.1820585, 2.017666]), (False, [-2.56001126, 4.67536779, -11.5785862])],
)
@torch.no_grad()
def test_values_are_those_of_the_public_code(
    training: bool,
    values: list[float],
    known_weights: Callable[[nn.Module], None],
    numbers: Callable[[Sequence[int], str], Tensor],
    seen_through: Callable[[Tensor], float],
) -> None:
    """Those of MIRACLE-Center/YOLO_Universal_Anatomical_Landmark_Detection at 57a960c, run apart with these weights."""
    net = GU2NetNetwork(COUNTS)
    known_weights(net)
    image = numbers((2, 1, 64, 48), "image")
    if not training:
        for domain in range(3):
            net(image, domain)  # statistics as after one step
    found = [seen_through(net.train(training)(image, domain).sigmoid()) for domain in range(3)]
    assert found == pytest.approx(values, rel=1e-4)


def test_a_domain_uses_its_own_layers_and_shares_the_pointwise_ones() -> None:
    net = network()
    used: dict[str, set[int]] = {name: set() for name, _ in net.named_parameters()}
    for domain in range(3):
        net.zero_grad(set_to_none=True)
        net(torch.rand(2, 1, 32, 32), domain).square().sum().backward()
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                used[name].add(domain)
    for name, domains in used.items():
        assert len(domains) == (3 if "pointwise" in name else 1), name


def test_weights_and_statistics_of_other_domains_play_no_part() -> None:
    net, image = network().eval(), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        before = [net(image, d) for d in range(3)]
    net.zero_grad(set_to_none=True)
    net(image, 1).square().sum().backward()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.grad is not None and "pointwise" not in name:
                parameter.add_(torch.randn_like(parameter))
        after = [net(image, d) for d in range(3)]
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert not torch.allclose(before[1], after[1])
    with torch.no_grad():
        for parameter in (p for name, p in net.named_parameters() if "pointwise" in name):
            parameter.mul_(1.1)
        assert not any(torch.equal(net(image, d), old) for d, old in zip((0, 2), (after[0], after[2]), strict=True))
    net.train()(image, 1)
    norms = {n: m.num_batches_tracked > 0 for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert sum(norms.values()) * 3 == len(norms)
    assert not any(moved for name, moved in norms.items() if name.startswith(("globals.0", "globals.2")))


@pytest.mark.parametrize("size", [(32, 32), (48, 32), (48, 64)])
def test_the_product_is_below_both_maps_and_equals_the_local_one_where_the_global_one_is_one(
    size: tuple[int, int],
) -> None:
    net = network().eval()
    with torch.no_grad():
        image = torch.rand(2, 1, *size)
        local, coarse = net.maps(image, 1)
        wide = F.interpolate(coarse, size)
        heat = net(image, 1).sigmoid()
    assert heat.shape == (2, 4, *size)
    torch.testing.assert_close(heat, local.sigmoid() * wide.sigmoid())
    assert (heat <= local.sigmoid() + 1e-7).all()
    assert (heat <= wide.sigmoid() + 1e-7).all()
    assert torch.equal(product_logits(local, torch.full_like(coarse, 1e4)), local)


def test_product_logits_keep_a_gradient_where_sigmoids_are_saturated() -> None:
    a = torch.tensor([-200.0, 200.0, 200.0, -200.0, 0.3]).view(1, 5, 1, 1).requires_grad_()
    b = torch.tensor([200.0, -200.0, 200.0, -200.0, -0.2]).view(1, 5, 1, 1).requires_grad_()
    z = product_logits(a, b).flatten()
    p = a.double().sigmoid() * b.double().sigmoid()
    torch.testing.assert_close(z[-1].double(), torch.logit(p[0, -1, 0, 0]), atol=1e-6, rtol=0)
    F.binary_cross_entropy_with_logits(z, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]), reduction="sum").backward()
    assert a.grad is not None
    assert b.grad is not None
    assert torch.isfinite(z).all()
    of_a, of_b = a.grad.flatten(), b.grad.flatten()
    assert of_a[0] < -0.9  # the wrong factor is told so at full strength
    assert of_b[1] < -0.9
    assert of_a[2] + of_b[2] > 0.9


def test_product_logits_are_those_of_the_product_of_each_pixel_with_its_block() -> None:
    torch.manual_seed(0)
    a, b = 8 * torch.randn(2, 3, 10, 12, dtype=torch.float64), 8 * torch.randn(2, 3, 3, 3, dtype=torch.float64)
    p = a.sigmoid() * F.interpolate(b, (10, 12)).sigmoid()
    torch.testing.assert_close(product_logits(a, b).double(), torch.logit(p), atol=2e-5, rtol=1e-5)


def test_half_precision_gives_float32_logits() -> None:
    half = torch.full((1, 1, 1, 1), 12.0, dtype=torch.float16)
    assert product_logits(half, half).dtype == torch.float32
    assert product_logits(half, half).item() == pytest.approx(torch.logit(half.double().sigmoid() ** 2).item(), 1e-5)


def test_the_global_map_is_constant_on_blocks_of_four() -> None:
    net, image = network().eval(), torch.rand(1, 1, 32, 48)
    with torch.no_grad():
        local, coarse = net.maps(image, 0)
        wide = net(image, 0).double().sigmoid() / local.double().sigmoid()
    assert coarse.shape == (1, 3, 8, 12)
    blocks = wide.unflatten(2, (8, 4)).unflatten(4, (12, 4))  # (B, K, 8, 4, 12, 4)
    torch.testing.assert_close(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks), atol=1e-6, rtol=1e-5)
    assert wide.std() > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_maps_side_by_side_give_what_they_give_as_one(training: bool) -> None:
    torch.manual_seed(0)
    block = SeparableDoubleConv(7, 5, 4, 2, 0.01).double().train(training)
    maps = [torch.randn(2, c, 9, 8, dtype=torch.float64) for c in (4, 3)]
    results = []
    for x in (maps, torch.cat(maps, dim=1)):
        out = block(x, 1)
        block.zero_grad()
        out.square().sum().backward()
        results.append([out, *(p.grad for p in block.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("size", [(64, 40), (50, 37), (16, 16)])
def test_evaluation_by_rows_changes_no_value(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    net, image = network(), torch.randn(2, 1, *size)
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(2, 1, 32, 32), 0)  # the statistics of a fresh normalisation would hide its bias
        whole = net.eval()(image, 0)
        monkeypatch.setattr(module, "_STRIP", 1)
        torch.testing.assert_close(net(image, 0), whole, atol=1e-5, rtol=1e-5)
        trained = net.train()(image, 0)
        monkeypatch.setattr(module, "_STRIP", 2**21)
        torch.testing.assert_close(net(image, 0), trained)


def test_the_global_network_sees_a_hundred_pixels() -> None:
    net = GlobalNet(1, width=4).double().eval()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)  # nothing cancels and no ReLU is closed
    image = torch.rand(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    net(image, torch.zeros(1, 1, 160, 160, dtype=torch.float64))[0, 0, 20, 20].backward()
    assert image.grad is not None
    cells = image.grad[0, 0].nonzero().div(4, rounding_mode="floor")
    assert (cells.amax(dim=0) - cells.amin(dim=0) + 1).tolist() == [25, 25]


def test_the_local_map_is_trained_through_the_global_network_too() -> None:
    net = network()
    _, wide = net.maps(torch.rand(1, 1, 32, 32), 0)
    wide.sum().backward()
    head = net.local.heads[0]
    assert isinstance(head, nn.Conv2d)
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() > 0


def test_the_target_patch_is_the_public_codes() -> None:
    # x rounds to 20; the second lies at the border, the third is missing.
    points = torch.tensor([[[20.2, 29.7], [2.0, 3.0], [torch.nan, 2.0]]])
    target = patch_target(points, (48, 64))[0]
    support = target[0].nonzero()
    assert support.amin(dim=0).tolist() == [21, 11]  # rows 30 - 9 to 30 + 8
    assert support.amax(dim=0).tolist() == [38, 28]
    patch = target[0, 21:39, 11:29]
    assert patch.max() == 1
    assert target[0, 30, 20] == 1
    assert patch.min() == pytest.approx(0, abs=1e-7)
    # At a border the patch is shifted beyond it, not cut elsewhere.
    assert target[1, 3, 2] == 1
    torch.testing.assert_close(target[1, :11, :10], patch[6:17, 7:17])
    assert target[1].nonzero().amax(dim=0).tolist() == [11, 10]
    assert not target[2].any()


def test_the_summed_loss_grows_with_the_area_and_leaves_missing_landmarks_out() -> None:
    points = torch.tensor([[[20.0, 20.0], [30.0, 12.0]]])
    small = patch_loss(torch.zeros(1, 2, 40, 40), points)
    assert patch_loss(torch.zeros(1, 2, 80, 80), points) == pytest.approx(4 * small.item(), rel=1e-5)
    logits = torch.randn(1, 2, 40, 40, requires_grad=True)
    missing = points.clone()
    missing[0, 1] = torch.nan
    patch_loss(logits, missing).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].abs().sum() > 0
    assert not logits.grad[0, 1].any()


def spot(points: Tensor, size: tuple[int, int]) -> Tensor:
    """An image `(B, 1, H, W)` with a bright spot about a point."""
    return patch_target(points[:, None], size, 1.0)


@pytest.mark.parametrize("fixed", [False, True])
def test_nudged_landmarks_stay_on_what_they_mark(fixed: bool) -> None:
    torch.manual_seed(0)
    points = torch.tensor([[20.0, 34.0]]).repeat(8, 1)
    image, moved = Nudge(angle=10, rate=1.0, fixed=fixed, shift=6)(spot(points, (64, 48)), points[:, None])
    flat = image.flatten(1)
    weight = flat / flat.sum(dim=1, keepdim=True)
    ys, xs = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    found = torch.stack([(weight * xs.flatten()).sum(dim=1), (weight * ys.flatten()).sum(dim=1)], dim=1)
    # The patch's one-pixel asymmetry shifts its mean a little.
    torch.testing.assert_close(found, moved[:, 0], atol=0.15, rtol=0)
    distinct = moved[:, 0].round(decimals=3).unique(dim=0)
    assert len(distinct) == (1 if fixed else 8)


def test_most_images_are_not_nudged() -> None:
    torch.manual_seed(0)
    points = torch.full((400, 1, 2), 10.0)
    _, moved = Nudge()(torch.rand(400, 1, 32, 32), points)
    assert 0.13 < ((moved - points).norm(dim=2) > 1e-3).float().mean() < 0.25  # 1 - 0.9² = 0.19
    assert ((moved - points).abs() <= 10 + 1).all()


@pytest.mark.parametrize("size", [(33, 48), (48, 41), (17, 31)])
def test_other_sides_than_multiples_of_16_are_filled_up_and_cut_back(size: tuple[int, int]) -> None:
    net = network().eval()
    image = torch.randn(1, 1, *size)
    filled = torch.zeros(1, 1, 48, 48) if max(size) > 32 else torch.zeros(1, 1, 32, 32)
    filled[..., : size[0], : size[1]] = image
    with torch.no_grad():
        found = net(image, 1)
        assert found.shape == (1, 4, *size)
        assert torch.equal(found, product_logits(*net.maps(filled, 1))[..., : size[0], : size[1]])
