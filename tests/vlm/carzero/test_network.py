"""CARZero's fusion and loss: the signs of a faithful implementation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medzoo.vlm.carzero.losses import choices, contrastive, pair_up
from medzoo.vlm.carzero.network import Cabs, Cosine, SimR, fuse, maps
from medzoo.vlm.images import ImageEncoder, ImageFeatures
from medzoo.vlm.text.encoder import TextFeatures


def features(images: int = 5, texts: int = 4, width: int = 16, seed: int = 0) -> tuple[ImageFeatures, TextFeatures]:
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(7) < torch.tensor([7, 3, 5, 4])[:texts, None]
    tokens = torch.randn(texts, 7, width, generator=g) * mask[:, :, None]
    image = ImageFeatures(
        torch.randn(images, width, generator=g), torch.randn(images, 12, width, generator=g), (3, 4)
    )  # fmt: skip
    return image, TextFeatures(torch.randn(texts, width, generator=g), tokens, mask)


def simr(**options: object) -> SimR:
    torch.manual_seed(1)
    return SimR(16, 2, 4, 32, "mlp", **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(("head", "count"), [("linear", 15_762_689), ("mlp", 17_205_761)])
def test_the_fusion_has_the_published_number_of_live_parameters(head: str, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in SimR(768, 4, 4, 1024, head).parameters()) == count


@pytest.mark.parametrize(("head", "share"), [("linear", 0.03), ("mlp", 0.01)])
def test_at_first_all_pairs_look_alike(head: str, share: float) -> None:
    torch.manual_seed(0)
    image, text = features(16, 4, 768)
    text = TextFeatures(*(torch.cat([part] * 4) for part in (text.globals, text.tokens, text.mask)))
    with torch.no_grad():
        sides = fuse(SimR(768, 4, 4, 1024, head).eval(), image, text).sides()
    own = torch.eye(16, dtype=torch.bool)
    loss = sum(contrastive(side, own, torch.zeros_like(own)).item() for side in sides)
    assert loss == pytest.approx(2 * math.log(16), rel=share)


def test_layers_are_those_of_torch() -> None:
    """A layer is torch's decoder layer (norm first) without its self-attention."""
    fusion = simr(dropout=0.0)
    image, text = features()
    memory = torch.cat([image.globals[:, None], image.tokens], 1)
    m, q = fusion.norm(memory), fusion.norm(text.globals)[None].expand(5, -1, -1)
    for layer in fusion.layers:
        other = torch.nn.MultiheadAttention(16, 4, batch_first=True)
        other.in_proj_weight.data = torch.cat([layer.query.weight, layer.key.weight, layer.value.weight])
        other.in_proj_bias.data = torch.cat([layer.query.bias, layer.key.bias, layer.value.bias])
        other.out_proj.load_state_dict(layer.out.state_dict())
        q = q + other(layer.norm_attention(q), m, m)[0]
        q = q + layer.feed(layer.norm_feed(q))
    wanted = fusion.head(fusion.norm(q)).squeeze(-1)
    assert torch.allclose(fusion(memory, text.globals), wanted, atol=1e-6)


def test_patches_have_no_places_and_change_their_own_image_alone() -> None:
    fusion, (image, text) = simr(), features()
    plain = fuse(fusion, image, text).text_queries_image
    turned = ImageFeatures(image.globals, image.tokens.flip(1), image.grid)
    assert torch.allclose(fuse(fusion, turned, text).text_queries_image, plain, atol=1e-6)
    tokens = image.tokens.clone()
    tokens[2, 3] += 1
    other = fuse(fusion, ImageFeatures(image.globals, tokens, image.grid), text).text_queries_image
    changed = (other != plain).any(1).tolist()
    assert changed == [False, False, True, False, False]


def test_masked_padding_changes_nothing_and_unmasked_does() -> None:
    fusion, (image, text) = simr(), features()
    longer = torch.nn.functional.pad(text.tokens, (0, 0, 0, 9))
    masked = TextFeatures(text.globals, longer, torch.nn.functional.pad(text.mask, (0, 9)))
    open_ = [TextFeatures(text.globals, t, torch.ones(t.shape[:2], dtype=torch.bool)) for t in (text.tokens, longer)]
    plain = fuse(fusion, image, text).score
    assert torch.allclose(fuse(fusion, image, masked).score, plain, atol=1e-6)
    first, second = (fuse(fusion, image, t).score for t in open_)
    assert (first - second).abs().max() > 1e-4


@pytest.mark.parametrize("fusion", [simr(), Cabs(), Cosine()], ids=["simr", "cabs", "cosine"])
def test_chunks_give_the_same_logits(fusion: SimR | Cabs | Cosine) -> None:
    image, text = features(4)
    whole = fuse(fusion, image, text).score
    for chunk in (1, 3):
        other = fuse(fusion, image, text, chunk).score
        assert (other - whole).abs().max() <= 1e-6 * whole.abs().max()


def test_both_directions_teach_the_image() -> None:
    image, text = features()
    for side in (0, 1):
        globals_, tokens = image.globals.clone().requires_grad_(), image.tokens.clone().requires_grad_()
        logits = fuse(simr(), ImageFeatures(globals_, tokens, image.grid), text)
        logits[side].sum().backward()  # type: ignore[union-attr]
        assert globals_.grad is not None
        assert globals_.grad.abs().sum() > 0


def test_attention_is_positive_and_its_shares_sum_to_at_most_one() -> None:
    image, text = features()
    found = maps(simr(), image, text)
    assert found.shape == (5, 4, 3, 4)
    assert (found > 0).all()
    assert (found.sum((2, 3)) < 1).all()
    cosines = maps(Cosine(), image, text)
    assert cosines.abs().max() <= 1 + 1e-6


def test_cabs_is_a_cosine_and_with_no_temperature_the_largest_one() -> None:
    fusion, (image, text) = Cabs(), features()
    memory = torch.cat([image.globals[:, None], image.tokens], 1)
    with torch.no_grad():
        assert (fusion(memory, text.globals) * fusion.log_temperature.exp()).abs().max() <= 1 + 1e-6
        fusion.log_temperature.fill_(math.log(1e-4))
        sharp = fusion(memory, text.globals) * fusion.log_temperature.exp()
        assert torch.allclose(sharp, fusion.similarity(memory, text.globals).amax(2), atol=1e-4)


def test_with_one_sentence_an_image_it_is_the_symmetric_cross_entropy() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    sentences = [["a"], ["b"], ["a"], ["c"]]
    texts, right, out = pair_up(sentences, sentences)
    assert texts == ["a", "b", "a", "c"]
    assert not out.any()
    entropy = torch.nn.functional.cross_entropy
    wanted = (entropy(logits, torch.arange(4)) + entropy(logits.T, torch.arange(4))) / 2
    assert contrastive(logits, right, out).item() == pytest.approx(wanted.item(), rel=1e-5)


def by_hand(logits: Tensor, right: Tensor, wrong: Tensor) -> float:
    losses = []
    for s, good, bad in ((logits, right, wrong), (logits.T, right.T, wrong.T)):
        each = [
            -torch.log(s[i, j].exp() / (s[i, j].exp() + s[i][bad[i]].exp().sum())) for i, j in good.nonzero().tolist()
        ]
        losses.append(torch.stack(each).mean())
    return torch.stack(losses).mean().item()


@pytest.mark.parametrize(
    ("targets", "right", "out"),
    [
        ("diagonal", [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], [[0] * 4] * 3),
        ("dedup", [[1, 0, 0], [0, 1, 1], [1, 0, 0]], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        ("multi_positive", [[1, 0, 1], [0, 1, 1], [1, 0, 0]], [[0] * 3] * 3),
    ],
)
def test_targets_are_their_definitions(targets: str, right: list[list[int]], out: list[list[int]]) -> None:
    drawn, said = [["a"], ["b", "c"], ["a"]], [["a", "c"], ["b", "c"], ["a"]]
    found = pair_up(drawn, said, targets)
    assert found.texts == (["a", "b", "c", "a"] if targets == "diagonal" else ["a", "b", "c"])
    assert torch.equal(found.right, torch.tensor(right).bool())
    assert torch.equal(found.out, torch.tensor(out).bool())
    logits = torch.randn(3, len(found.texts), generator=torch.Generator().manual_seed(0))
    wanted = by_hand(logits, found.right, ~(found.right | found.out))
    assert contrastive(logits, found.right, found.out).item() == pytest.approx(wanted, rel=1e-5)


def test_where_nothing_is_wrong_nothing_is_learnt_and_gradients_are_finite() -> None:
    logits = torch.randn(4, 1, requires_grad=True)
    _, right, out = pair_up([["a"]] * 4, [["a"]] * 4, "multi_positive")
    loss = contrastive(logits, right, out)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_an_image_chooses_between_a_sentence_and_its_opposite_and_a_denial_between_images() -> None:
    """Two sentences, «There is a» of images 0 and 1, «There is no b» of image 1; image 2 speaks of neither."""
    g = torch.Generator().manual_seed(0)
    logits, twins = torch.randn(3, 2, generator=g), torch.randn(3, 2, generator=g)
    right, none = torch.tensor([[True, False], [True, True], [False, False]]), torch.zeros(3, 2, dtype=torch.bool)
    soft = torch.nn.functional.softplus
    own = (soft(twins - logits)[:2, 0].mean() + soft(twins - logits)[1, 1]) / 2
    denial = soft(twins[:2, 0] - twins[2, 0]).mean()  # of «There is no a» between images with a and the one without
    found = choices(logits, twins, right, none, torch.tensor([True, False]))
    assert found.item() == pytest.approx((own + denial).item(), rel=1e-5)
    assert choices(logits, twins, right, none, torch.tensor([False, False])).item() == pytest.approx(own.item())
    out = torch.tensor([[False, False], [False, False], [True, False]])  # its report says so, though it was not drawn
    assert choices(logits, twins, right, out, torch.tensor([True, False])).item() == pytest.approx(own.item())
    assert choices(logits, twins, none, none, torch.tensor([True, False])).item() == 0


def test_choices_move_the_logits_of_denials_the_right_way() -> None:
    logits, twins = torch.zeros(3, 1, requires_grad=True), torch.zeros(3, 1, requires_grad=True)
    right = torch.tensor([[True], [False], [False]])
    choices(logits, twins, right, torch.zeros_like(right), torch.tensor([True])).backward()
    assert logits.grad is not None
    assert twins.grad is not None
    assert logits.grad[0] < 0 < twins.grad[0]  # descent raises «There is X» and lowers «There is no X» where X is
    assert (twins.grad[1:] < 0).all()


def test_a_vision_transformer_has_fixed_positions_and_a_published_size() -> None:
    encoder = ImageEncoder("test_vit", (64, 64), 64, 0.5, 0.25)
    found = encoder(torch.rand(2, 1, 64, 64))
    assert (found.globals.shape, found.tokens.shape, found.grid) == ((2, 64), (2, 16, 64), (4, 4))
    assert not encoder.model.pos_embed.requires_grad
    table = encoder.model.pos_embed[0]
    assert table[0].abs().max() == 0
    assert len(torch.unique(table.round(decimals=4), dim=0)) == 17
    assert isinstance(encoder.whole, torch.nn.Identity)
    with pytest.raises(ValueError, match="timm has no model 'vitt'"):
        ImageEncoder("vitt", (64, 64), 64)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swin_tiny_patch4_window7_224", "gives no maps of images of 64 x 64 pixels"),
        ("levit_128s", "gives no maps of images of 64 x 64 pixels"),
        ("eva02_tiny_patch14_224", "gives no maps of images of 64 x 64 pixels"),
    ],
)
def test_a_network_that_cannot_be_taken_costs_one_line(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        ImageEncoder(name, (64, 64), 64)
    assert "\n" not in str(error.value)


def test_maps_with_their_channels_last_are_refused() -> None:
    with pytest.raises(ValueError, match="is neither a vision transformer with a class token nor a convolutional"):
        ImageEncoder("swin_tiny_patch4_window7_224", (224, 224), 64)


@pytest.mark.parametrize("name", ["mobilevit_xxs", "deit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_other_networks_of_these_families_give_features_of_any_size(name: str) -> None:
    encoder = ImageEncoder(name, (64, 64), 32, stride=16).train()
    found = encoder(torch.rand(2, 1, 64, 64))
    assert (found.globals.shape, found.tokens.shape) == ((2, 32), (2, 16, 32))
    assert encoder.model.training
