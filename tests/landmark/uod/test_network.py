from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.landmark.uod.network import DATR, UVGG
from medzoo.landmark.uod.swin import AdaptiveBlock, AdaptiveSwin, load_swin

SWIN = {"embed": 16, "depths": (1, 2, 2, 1), "heads": (1, 2, 2, 4), "window": 4, "drop_path": 0.0, "in_channels": 1}


def uvgg(domains: int = 3) -> UVGG:
    return UVGG(domains, 1, widths=(4, 6, 8, 8, 8), depths=(1, 1, 1, 1, 1), decoder_widths=(8, 6, 4, 4), embedding=5)


def datr(counts: tuple[int, ...] = (3, 4, 2)) -> DATR:
    return DATR(counts, layer_scale=1.0, **SWIN)  # type: ignore[arg-type]


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def flat(out: Tensor | list[Tensor]) -> Tensor:
    return torch.cat([m.flatten() for m in out]) if isinstance(out, list) else out.flatten()


def owners(network: nn.Module) -> dict[str, int]:
    """Domain that each parameter belongs to, told by autograd: -1 where several use it."""
    used: dict[str, list[int]] = {name: [] for name, _ in network.named_parameters()}
    for domain in range(3):
        network.zero_grad(set_to_none=True)
        flat(network(torch.rand(2, 1, 32, 32), domain)).square().sum().backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                used[name].append(domain)
    assert all(used.values()), "every parameter takes part in some domain"
    return {name: domains[0] if len(domains) == 1 else -1 for name, domains in used.items()}


@pytest.mark.parametrize("build", [uvgg, datr])
def test_parameters_of_other_domains_leave_the_output_bit_identical(build: type) -> None:
    torch.manual_seed(0)
    network = build().eval()
    owner = owners(network)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        before = [flat(network(image, d)) for d in range(3)]
        for name, parameter in network.named_parameters():
            if owner[name] == 1:
                parameter.add_(torch.randn_like(parameter))
        after = [flat(network(image, d)) for d in range(3)]
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert not torch.allclose(before[1], after[1])


@pytest.mark.parametrize(("build", "shared"), [(uvgg, "pointwise"), (datr, "key_value")])
def test_shared_parameters_change_every_domain(build: type, shared: str) -> None:
    torch.manual_seed(0)
    network = build().eval()
    owner = owners(network)
    assert any(shared in name and d == -1 for name, d in owner.items())
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        before = [flat(network(image, d)) for d in range(3)]
        for name, parameter in network.named_parameters():
            if owner[name] == -1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for d in range(3):
            assert not torch.allclose(before[d], flat(network(image, d)))


@pytest.mark.parametrize("build", [uvgg, datr])
def test_a_step_on_one_domain_leaves_batch_statistics_of_the_others(build: type) -> None:
    network = build().train()
    names = [n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    network(torch.rand(2, 1, 32, 32), 1)
    moved = {n for n in names if network.get_submodule(n).num_batches_tracked > 0}
    assert len(moved) * 3 == len(names)


def test_uvgg_gives_five_maps_from_stride_32_to_2_and_a_sixth_on_request() -> None:
    network = uvgg()
    assert network.strides == [32, 16, 8, 4, 2]
    assert [m.shape[1:] for m in network(torch.rand(1, 1, 64, 96), 0)] == [
        (5, 64 // s, 96 // s) for s in network.strides
    ]
    full = UVGG(1, 1, (4,) * 5, (1,) * 5, (4,) * 4, 5, full_resolution=True)
    assert full.strides[-1] == 1
    assert full(torch.rand(2, 1, 32, 32), 0)[-1].shape == (2, 5, 32, 32)


def test_parameter_counts_are_those_of_the_paper() -> None:
    with torch.device("meta"):  # only the counts matter
        assert millions(UVGG(3, full_resolution=True)) == pytest.approx(94.7, abs=0.1)
        one, two, plain = AdaptiveSwin(1), AdaptiveSwin(2), AdaptiveSwin(1, layer_scale=None)
        shared = AdaptiveSwin(2, mlp="shared")
    assert sum(p.numel() for p in plain.parameters() if p.requires_grad) / 1e6 == pytest.approx(86.7, abs=0.1)
    blocks = [(128, 2), (256, 2), (512, 18), (1024, 2)]
    query, mlp, gamma = (
        sum(n * f(c) for c, n in blocks) for f in (lambda c: c * c + c, lambda c: 8 * c * c + 5 * c, lambda c: 2 * c)
    )
    assert millions(two) - millions(one) == pytest.approx((query + mlp + gamma) / 1e6, abs=1e-9)
    assert millions(shared) - millions(one) == pytest.approx((query + gamma) / 1e6, abs=1e-9)


@pytest.mark.parametrize(("residual", "identity"), [("outer", True), ("inner", False)])
def test_a_block_with_zero_scales_is_the_identity_outside_and_zero_inside(residual: str, identity: bool) -> None:
    block = AdaptiveBlock(8, 2, 4, 2, 1, 0.0, 0.0, "query", "domain", residual)  # type: ignore[arg-type]
    x = torch.randn(2, 9, 10, 8)
    assert torch.equal(block(x, 0), x if identity else torch.zeros_like(x))


@pytest.mark.parametrize(("size", "stages"), [(448, 4), (224, 3)])
def test_features_equal_those_of_timms_swin_where_all_sides_are_whole_windows(size: int, stages: int) -> None:
    """timm shifts before it fills up, and never a map of one window (the last at 224); the public code otherwise."""
    torch.manual_seed(0)
    reference = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=size,
        num_classes=0,
        embed_dim=32,
        depths=(2, 2, 2, 2),
        num_heads=(2, 4, 8, 16),
    ).eval()
    with torch.no_grad():
        for name, p in reference.named_parameters():
            if "bias" in name:  # timm starts them at zero, which would hide mistakes
                p.add_(0.1 * torch.randn_like(p))
    ours = AdaptiveSwin(2, 32, (2, 2, 2, 2), (2, 4, 8, 16), layer_scale=1.0)
    load_swin(ours, reference.state_dict())
    image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        _, expected = reference.forward_intermediates(image)
        for domain in range(2):
            features = ours.eval()(image, domain, normalise=False)
            for a, b in list(zip(features, expected, strict=True))[:stages]:
                torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_loaded_queries_and_mlps_are_those_of_the_checkpoint_in_every_domain() -> None:
    reference = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, embed_dim=24, depths=(1, 1, 1, 1))
    heads = tuple(s.blocks[0].attn.num_heads for s in reference.layers)
    ours = AdaptiveSwin(3, 24, (1, 1, 1, 1), heads)
    load_swin(ours, reference.state_dict())
    for stage, original in zip(ours.stages, reference.layers, strict=True):
        block, source = stage[0], original.blocks[0]  # type: ignore[index]
        for d in range(3):
            assert torch.equal(block.attention.query[d].weight, source.attn.qkv.weight.chunk(3)[0])
            assert torch.equal(block.mlp[d].fc1.weight, source.mlp.fc1.weight)
            assert torch.equal(block.mlp[d].fc2.bias, source.mlp.fc2.bias)


def test_loading_weights_of_another_width_names_a_parameter() -> None:
    reference = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, embed_dim=24, depths=(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"of another shape, such as .*; give the weights"):
        load_swin(AdaptiveSwin(1, 48, (1, 1, 1, 1), (3, 6, 12, 24)), reference.state_dict())


def plain_attention(block: AdaptiveBlock, x: Tensor, domain: int) -> Tensor:
    """One window after the other, attention only among tokens that both wrapped around or both did not."""
    attention, window, shift = block.attention, block.window, block.shift
    heads, rows, columns = attention.heads, x.shape[1], x.shape[2]
    x = F.pad(x, (0, 0, 0, -columns % window, 0, -rows % window))
    height, width = x.shape[1:3]
    x = torch.roll(x, (-shift, -shift), (1, 2))
    out = torch.zeros_like(x)
    y, z = (t.flatten() for t in torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"))
    away = (y[:, None] - y + window - 1) * (2 * window - 1) + z[:, None] - z + window - 1
    bias = attention.bias_table[away].permute(2, 0, 1)
    query = attention.query[domain if attention.routed else 0]
    for top in range(0, height, window):
        for left in range(0, width, window):
            tokens = x[0, top : top + window, left : left + window].flatten(0, 1)
            wrapped = 2 * ((top + y + shift) // height) + (left + z + shift) // width
            q, k, v = (
                t.unflatten(-1, (heads, -1)).transpose(0, 1)
                for t in (query(tokens), *attention.key_value(tokens).chunk(2, -1))
            )
            scores = q @ k.mT / q.shape[-1] ** 0.5 + bias
            scores = scores.masked_fill(wrapped[:, None] != wrapped, -torch.inf)
            seen = attention.project((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
            out[0, top : top + window, left : left + window] = seen.unflatten(0, (window, window))
    return torch.roll(out, (shift, shift), (1, 2))[:, :rows, :columns]


@pytest.mark.parametrize("size", [576, 224, 144, 100])
def test_features_are_those_of_a_plain_loop_over_windows_at_every_size(size: int) -> None:
    torch.manual_seed(0)
    encoder = AdaptiveSwin(2, 8, (2, 2, 2, 2), (1, 2, 2, 2), 7, 1, 0.0, layer_scale=1.0).eval()
    image = torch.randn(1, 1, size, size)
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if "norm" not in name and "gamma" not in name:  # strong enough that attention matters
                p.add_(0.1 * torch.randn_like(p))
        x = encoder.patch_embed(image)
        found = encoder(image, 1, normalise=False)
        for merge, stage, features in zip(encoder.merges, encoder.stages, found, strict=True):
            x = merge(x)
            for block in stage:  # type: ignore[attr-defined]
                x = x + plain_attention(block, block.norm1(x), 1)
                x = x + block.mlp[1](block.norm2(x))
            expected = x.permute(0, 3, 1, 2)
            assert (features - expected).norm() <= 2e-6 * expected.norm()


@pytest.mark.parametrize("size", [13, 12, 10, 4])
def test_no_border_sees_the_opposite_one_through_a_shifted_block(size: int) -> None:
    torch.manual_seed(0)
    block = AdaptiveBlock(8, 1, 4, 2, 1, 0.0, 1.0, "query", "domain", "outer")
    x = torch.randn(1, size, size, 8)
    changed = x.clone()
    changed[:, 0] += 1.0
    with torch.no_grad():
        before, after = block(x, 0), block(changed, 0)
    assert not torch.equal(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 2:], after[:, 2:])  # the first shifted window holds two rows


def test_shifted_windows_do_not_let_opposite_borders_see_each_other() -> None:
    torch.manual_seed(0)
    block = AdaptiveBlock(8, 1, 4, 2, 1, 0.0, 1.0, "query", "domain", "outer")
    x = torch.randn(1, 12, 12, 8, requires_grad=True)
    block(x, 0)[0, 0, 0].square().sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(-1) > 1e-12
    assert reached[:2, :2].all()
    assert not reached[2:].any()
    assert not reached[:, 2:].any()


def test_datr_gives_a_map_per_landmark_of_the_domain_at_input_size() -> None:
    count = (19, 37, 6)
    network = datr(count)
    for domain, k in enumerate(count):
        assert network(torch.rand(2, 1, 40, 56), domain).shape == (2, k, 40, 56)


def test_checkpointing_changes_no_gradient() -> None:
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = DATR((2, 2), layer_scale=1.0, checkpointing=checkpointing, **SWIN)  # type: ignore[arg-type]
        network(torch.rand(2, 1, 32, 32), 1).square().sum().backward()
        grads.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, value in grads[0].items():
        torch.testing.assert_close(value, grads[1][name])
