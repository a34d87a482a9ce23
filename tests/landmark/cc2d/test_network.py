from __future__ import annotations

import pytest
import torch
from torch import nn

from medzoo.landmark.cc2d.network import Voters, VotingUNet
from medzoo.landmark.matching.search import Contrast, cells, contrastive_loss, fuse_maps, take_templates
from medzoo.landmark.networks.decode import argmax
from medzoo.landmark.networks.embedding import Embedders, EmbeddingUNet
from medzoo.landmark.networks.routing import ContextBlock

SMALL = {"in_channels": 1, "widths": (4, 6, 8, 8, 8), "depths": (1, 1, 1, 1, 1)}


def embedder(**more: object) -> EmbeddingUNet:
    return EmbeddingUNet(decoder_widths=(8, 6, 4, 4), embedding=5, **SMALL, **more)  # type: ignore[arg-type]


def voter(landmarks: int = 3) -> VotingUNet:
    return VotingUNet(landmarks, decoder_widths=(8, 6, 4, 4, 4), **SMALL)  # type: ignore[arg-type]


def millions(*modules: nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


def test_parameter_counts_are_those_of_the_paper() -> None:
    with torch.device("meta"):  # only the counts matter
        network, bare, voting = EmbeddingUNet(), EmbeddingUNet(context=False), VotingUNet(19)
        sixth = 2 * (128 * 128 * 9 + 3 * 128) + 128 * 16 + 16  # the step to stride 1 and its head, which are left out
    assert millions(network) + sixth / 1e6 == pytest.approx(58.2, abs=0.1)
    assert millions(network.encoder) == pytest.approx(20.0, abs=0.05)
    assert millions(network.context) == pytest.approx(33.75, abs=0.02)
    assert millions(network.decoder) + (sixth - 128 * 16 - 16) / 1e6 == pytest.approx(4.46, abs=0.01)
    assert millions(network) - millions(bare) == millions(network.context)
    step = 128 * 64 * 9 + 64 + 64 * 64 * 9 + 64  # instance normalisation has no weights
    assert millions(voting.finest) * 1e6 == step
    assert voting.head.weight.shape[0] == 3 * 19


@torch.no_grad()
def test_branches_of_the_context_block_see_lines_and_then_what_is_far_apart() -> None:
    block = ContextBlock(1).eval()
    for parameter in block.parameters():
        if parameter.ndim > 1:
            nn.init.ones_(parameter)
    point = torch.zeros(1, 1, 31, 31)
    point[0, 0, 15, 15] = 1
    for branch, k in zip(block.branches, (1, 3, 5, 7), strict=True):
        near = range(-(k // 2), k // 2 + 1)  # 1×k and k×1
        far = (-k, 0, k) if k > 1 else (0,)  # 3×3 with dilation k; the first branch has none
        expected = sorted({a + b for a in near for b in far})
        seen = branch(point, 0)[0, 0].nonzero() - 15
        assert sorted({int(y) for y, _ in seen}) == sorted({int(x) for _, x in seen}) == expected
        assert len(seen) == len(expected) ** 2


def test_the_embeddings_are_five_maps_from_stride_32_to_2() -> None:
    network = embedder()
    assert network.strides == [32, 16, 8, 4, 2]
    assert [m.shape[1:] for m in network(torch.rand(1, 1, 64, 96))] == [(5, 64 // s, 96 // s) for s in network.strides]


def test_every_embedding_weight_gets_a_gradient_from_the_five_losses() -> None:
    torch.manual_seed(0)
    network = embedder()
    maps = network(torch.rand(2, 1, 64, 64))
    points = torch.rand(2, 3, 2) * 63
    templates = take_templates(network(torch.rand(2, 1, 64, 64)), points, network.strides)
    sum(contrastive_loss(maps, templates, points, network.strides, Contrast(clamp=False))).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_shot_finds_its_own_landmarks_with_random_weights() -> None:
    torch.manual_seed(0)
    # Wide enough that no pixel has all units at rest, and exact: untrained embeddings differ little from each other.
    network = EmbeddingUNet(1, (8, 8, 16, 16, 16), (1,) * 5, (16, 16, 16, 16), 8).eval().double()
    points = torch.tensor([[[3.0, 60.0], [33.0, 20.0], [50.0, 51.0], [127.0, 127.0]]])
    with torch.no_grad():
        maps = network(torch.rand(1, 1, 128, 128).double())
    for scale in (1.0, 7.0):
        maps[2] = scale * maps[2]  # cosines do not know the length of a vector
        fused = fuse_maps(maps, take_templates(maps, points, network.strides), eps=1e-14)
        assert torch.equal(argmax(fused)[0].long(), cells(points, 2))


def test_networks_of_other_domains_have_no_part_in_a_step() -> None:
    networks = Embedders(embedder() for _ in range(3))
    assert networks.strides == [32, 16, 8, 4, 2]
    before = {n: b.clone() for n, b in networks.named_buffers()}
    torch.cat([m.flatten() for m in networks(torch.rand(2, 1, 64, 64), 1)]).square().sum().backward()
    assert {n.split(".")[0] for n, p in networks.named_parameters() if p.grad is not None} == {"1"}
    assert {n.split(".")[0] for n, b in networks.named_buffers() if not torch.equal(b, before[n])} == {"1"}


def test_voting_maps_are_three_for_each_landmark_of_the_domain_at_input_size() -> None:
    networks = Voters(voter(k) for k in (3, 5))
    for domain, k in enumerate((3, 5)):
        maps = networks(torch.rand(2, 1, 64, 96), domain)
        assert [m.shape for m in maps] == [(2, k, 64, 96)] * 3


def test_decoder_widths_that_do_not_fit_the_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="decoder_widths: expected 4 values down to stride 2, got 2"):
        EmbeddingUNet(decoder_widths=(8, 8))
