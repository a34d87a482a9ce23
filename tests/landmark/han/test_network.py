from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.landmark.han.attention import RoutingAttention, route_regions
from medzoo.landmark.han.losses import at_stride, deep_loss, rounded_gaussian
from medzoo.landmark.han.network import CBAM, HANNetwork
from medzoo.landmark.networks import decode
from medzoo.landmark.networks.targets import gaussian
from medzoo.landmark.networks.vgg import Norm

SMALL = {
    "widths": (8, 8, 16, 16, 32),
    "attention_heads": (1, 1, 2, 2, 2),
    "windows": (4, 4, 4, 2),
    "topk": (1, 2, 4, 4),
    "mlp_ratios": (2, 2, 2, 2, 2),
}


def network(norm: Norm = "batch", checkpointing: bool = False) -> HANNetwork:
    torch.manual_seed(0)
    return HANNetwork((3, 4), 1, 16, norm, **SMALL, checkpointing=checkpointing)


def attention(channels: int = 8, heads: int = 2, windows: int = 4, topk: int = 3, pool: int | None = 4) -> nn.Module:
    torch.manual_seed(0)
    return RoutingAttention(channels, heads, windows, topk, pool).eval()


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_parameter_counts_are_those_of_the_public_code() -> None:
    with torch.device("meta"):  # only the counts matter
        net = HANNetwork((19,))
        unread = nn.Conv2d(256, 256, 3)  # at strides 8, 16 and 32 the public neck convolves what nothing reads
    assert millions(net.backbone) == pytest.approx(68.99, abs=0.01)
    assert millions(net.heads) == pytest.approx(3.09, abs=0.01)
    assert millions(net.neck) + 3 * millions(unread) == pytest.approx(6.93, abs=0.01)
    assert millions(net) + 3 * millions(unread) == pytest.approx(79.0, abs=0.1)


@torch.no_grad()
def test_values_are_those_of_the_public_code(
    known_weights: Callable[[nn.Module], None],
    numbers: Callable[[Sequence[int], str], Tensor],
    seen_through: Callable[[Tensor], float],
) -> None:
    """Those of ECNUACRush/HYATT-Net at 9373a06, run apart with these weights, its last map enlarged as ours is."""
    net = HANNetwork(
        (3,), 3, 32, widths=(16, 32, 80, 128, 256), attention_heads=(1, 2, 5, 8, 8), windows=(4, 4, 4, 2),
        topk=(1, 2, 4, 4), mlp_ratios=(2,) * 5, drop_path=0.0,
    )  # fmt: skip
    known_weights(net)
    for stage in net.backbone.stages:
        stage[1] = nn.Identity()  # type: ignore[operator, index]  # the public code never calls this one
    image = numbers((2, 3, 64, 96), "image")
    values = [seen_through(m) for m in (*net.backbone(image), *net(image, 0))]
    stages = [-315.038213, -630.467438, -136.57238, 2083.52797, 361.620822]
    assert values == pytest.approx([*stages, 2324.09751, -14.5149177, -41.5834389], rel=1e-7)


def test_the_published_start_leaves_the_backbone_and_gives_nearly_empty_maps() -> None:
    torch.manual_seed(0)
    net = HANNetwork((3,), 1, 64, **SMALL)
    for module in net.backbone.modules():  # torch's own weights are uniform within the root of 1 / fan in
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.numel() > 500:
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.1)
    backbone = {name: value.clone() for name, value in net.backbone.state_dict().items()}
    net.start_empty()
    assert all(torch.equal(value, backbone[name]) for name, value in net.backbone.state_dict().items())
    for module in (*net.neck.modules(), *net.heads.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            assert not module.bias.any()
    heads = [m for m in net.heads.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    spread = torch.cat([m.weight.flatten() for m in heads]).std()
    assert spread.item() == pytest.approx(0.001, rel=0.02)
    lateral = net.neck.lateral[0].weight
    assert lateral.abs().max().item() == pytest.approx((6 / (9 * (8 + 64))) ** 0.5, rel=0.01)  # Xavier's, uniform
    with torch.no_grad():
        assert all(m.abs().max() < 0.05 for m in net(torch.rand(2, 1, 64, 64), 0))


def test_maps_of_a_cephalogram_have_a_quarter_half_and_full_resolution() -> None:
    with torch.device("meta"):
        net = HANNetwork((19,))
        maps = net(torch.rand(1, 3, 1216, 1024), 0)
    assert [tuple(m.shape) for m in maps] == [(1, 19, 304, 256), (1, 19, 608, 512), (1, 19, 1216, 1024)]
    assert net.heads[0].at_full[0].in_channels == 307  # type: ignore[index, union-attr]


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_sides_are_any_multiples_of_32(size: tuple[int, int]) -> None:
    maps = network().eval()(torch.rand(2, 1, *size), 1)
    assert [m.shape[1:] for m in maps] == [(4, size[0] // s, size[1] // s) for s in (4, 2, 1)]


def full_attention(module: RoutingAttention, x: Tensor) -> Tensor:
    """What routing attention is once every pixel sees every pixel, written in another way."""
    c = x.shape[-1]
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    out = torch.empty_like(x)
    for head in torch.arange(c).chunk(module.heads):
        a, b, value = (part[..., head].flatten(1, 2) for part in (q, k, v))
        weight = (a @ b.mT * c**-0.5).softmax(dim=-1)
        out[..., head] = (weight @ value).view(*x.shape[:3], len(head))
    position = F.conv2d(v.permute(0, 3, 1, 2), module.position.weight, module.position.bias, padding=2, groups=c)
    result: Tensor = module.out(out + position.permute(0, 2, 3, 1))
    return result


@torch.no_grad()
def test_attending_to_all_regions_without_pooling_is_full_attention() -> None:
    module = attention(topk=16, pool=None)
    assert isinstance(module, RoutingAttention)
    x = torch.randn(2, 12, 20, 8)
    torch.testing.assert_close(module(x), full_attention(module, x), atol=1e-5, rtol=0)
    assert (attention(topk=2, pool=None)(x) - full_attention(module, x)).abs().max() > 1e-3


@torch.no_grad()
def test_each_region_attends_to_the_regions_that_are_chosen_for_it() -> None:
    module = attention(topk=1, windows=2, pool=None)
    assert isinstance(module, RoutingAttention)
    nn.init.zeros_(module.position.weight)
    nn.init.zeros_(module.position.bias)
    x = torch.randn(1, 4, 4, 8)
    q, k, _ = module.qkv(x).chunk(3, dim=-1)
    means = [part.unflatten(1, (2, 2)).unflatten(3, (2, 2)).mean(dim=(2, 4)).flatten(1, 2) for part in (q, k)]
    chosen = (means[0] @ means[1].mT).argmax(dim=-1)[0]
    before = module(x)
    for region in range(4):
        rows, columns = slice(2 * (region // 2), 2 * (region // 2) + 2), slice(2 * (region % 2), 2 * (region % 2) + 2)
        changed = x.clone()
        changed[:, rows, columns] += 1e-4 * torch.randn(1, 2, 2, 8)  # too little to change the choice
        moved = (module(changed) - before).abs().amax(dim=-1).view(2, 2, 2, 2).amax(dim=(1, 3)).flatten() > 1e-8
        expected = chosen == region
        expected[region] = True  # its own queries have changed
        assert moved.tolist() == expected.tolist()


@torch.no_grad()
def test_identical_regions_make_the_choice_of_one_immaterial() -> None:
    module = attention(topk=1)
    assert isinstance(module, RoutingAttention)
    nn.init.zeros_(module.position.weight)  # it looks across borders of regions
    tile = torch.randn(1, 6, 6, 8)
    out = module(tile.repeat(1, 4, 4, 1))
    for i in range(4):
        for j in range(4):
            torch.testing.assert_close(out[:, 6 * i : 6 * i + 6, 6 * j : 6 * j + 6], out[:, :6, :6])


def test_regions_are_chosen_by_the_affinity_of_their_means() -> None:
    query, key = torch.randn(2, 9, 4), torch.randn(2, 9, 4)
    chosen = route_regions(query, key, 3)
    for b in range(2):
        for region in range(9):
            affinity = [(float(query[b, region] @ key[b, other]), other) for other in range(9)]
            assert chosen[b, region].tolist() == [other for _, other in sorted(affinity, reverse=True)[:3]]


def test_gradients_of_attention_are_those_of_fixed_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The affinity of regions decides where to look and gets no gradient itself: a scale on it has none."""
    module, x = attention(topk=2), torch.randn(2, 12, 12, 8)
    module(x).square().sum().backward()
    with_routing = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    scale = torch.tensor(3.0, requires_grad=True)

    def fixed(query: Tensor, key: Tensor, topk: int) -> Tensor:
        return (scale * query @ key.mT).topk(topk, dim=-1).indices

    monkeypatch.setattr("medzoo.landmark.han.attention.route_regions", fixed)
    module.zero_grad()
    module(x).square().sum().backward()
    assert scale.grad is None
    for a, b in zip(with_routing, (p.grad for p in module.parameters() if p.grad is not None), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_of_attention_to_all_regions_are_those_of_full_attention() -> None:
    module, x = attention(topk=16, pool=None), torch.randn(1, 8, 8, 8)
    assert isinstance(module, RoutingAttention)
    losses = [out.square().sum() for out in (module(x), full_attention(module, x))]
    for a, b in zip(*(torch.autograd.grad(loss, list(module.parameters())) for loss in losses), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_by_hand_and_cropping_equals_the_automatic_padding() -> None:
    module, x = attention(), torch.randn(2, 10, 13, 8)
    by_hand = module(F.pad(x, (0, 0, 0, 3, 0, 2)))[:, :10, :13]
    torch.testing.assert_close(module(x), by_hand)


@torch.no_grad()
def test_gates_only_make_smaller() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 9, 7)
    out = CBAM(32)(x)
    assert (out.abs() <= x.abs()).all()
    assert (out.sign() == x.sign()).all()


def test_each_map_trains_what_leads_to_it() -> None:
    image, points = torch.rand(2, 1, 32, 32), torch.full((2, 3, 2), 12.0)
    reached = {}
    for name, weights in (("no full", (1.0, 1.0, 0.0)), ("no quarter", (0.0, 1.0, 1.0))):
        net = network()
        deep_loss(net(image, 0), points, (32, 32), (1, 1, 2), weights).backward()
        heads = net.heads[0]
        reached[name] = {
            part: any(p.grad is not None and bool(p.grad.any()) for p in getattr(heads, part).parameters())
            for part in ("at_quarter", "at_half", "see", "at_full")
        }
    assert reached["no full"] == {"at_quarter": True, "at_half": True, "see": False, "at_full": False}
    assert reached["no quarter"] == {"at_quarter": False, "at_half": True, "see": True, "at_full": True}


def test_domains_share_convolutions_but_no_statistics() -> None:
    net = network()
    torch.stack([m.square().sum() for m in net(torch.rand(2, 1, 32, 32), 1)]).sum().backward()
    for name, parameter in net.named_parameters():
        if ".each." in name or name.startswith("heads"):
            assert (parameter.grad is not None) == (".each.1." in name or name.startswith("heads.1")), name
        else:
            assert parameter.grad is not None, name


def test_checkpointing_changes_no_gradient() -> None:
    grads = []
    for checkpointing in (False, True):
        net = network("group", checkpointing)
        torch.manual_seed(1)
        torch.stack([m.square().sum() for m in net(torch.rand(1, 1, 32, 32), 0)]).sum().backward()
        grads.append({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, value in grads[0].items():
        torch.testing.assert_close(value, grads[1][name])


def test_group_normalisation_sees_one_image_as_any_batch_does() -> None:
    net, image = network("group").train(), torch.rand(3, 1, 32, 32)
    for module in net.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    with torch.no_grad():
        for alone, together in zip(net(image[:1], 0), net(image, 0), strict=True):
            torch.testing.assert_close(alone, together[:1], atol=1e-4, rtol=1e-4)


def test_perfect_maps_give_points_within_the_bounds_of_their_grids() -> None:
    torch.manual_seed(0)
    points = 8 + torch.rand(1, 200, 2) * 112
    found = []
    for stride, sigma, bound in ((4, 2.0, 2.0), (2, 2.0, 1.0), (1, 4.0, 0.5)):
        target = rounded_gaussian(at_stride(points, stride), (128 // stride, 128 // stride), sigma)
        assert target.amax() == 1
        found.append(at_stride(decode.quarter(target)[0], 1 / stride))
        assert (found[-1] - points).abs().max() <= bound + 1e-4
    assert (torch.stack(found).mean(dim=0) - points).abs().max() <= 1.17
    unrounded = decode.quarter(gaussian(at_stride(points, 4), (32, 32), 2.0))[0]
    assert (at_stride(unrounded, 1 / 4) - points).abs().max() <= 1 + 1e-4


def test_targets_end_at_three_sigma_and_missing_landmarks_do_not_count() -> None:
    points = torch.tensor([[[20.4, 15.6], [torch.nan, 3.0]]])
    target = rounded_gaussian(points, (40, 48), 2.0)
    assert target[0, 0].nonzero().amin(dim=0).tolist() == [10, 14]
    assert target[0, 0].nonzero().amax(dim=0).tolist() == [22, 26]
    assert not target[0, 1].any()
    maps = [torch.randn(1, 2, 40 // s, 48 // s, requires_grad=True) for s in (4, 2, 1)]
    for softmax in (False, True):
        deep_loss(maps, points, (40, 48), (2, 2, 4), (1000, 3000, 3000), softmax).backward()
        assert all(m.grad is not None and m.grad[0, 0].any() and not m.grad[0, 1].any() for m in maps)
