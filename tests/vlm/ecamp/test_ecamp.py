"""ECAMP: the contract of the house, what is hidden and how much it counts, where gradients go, what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved
from medzoo.vlm.ecamp.losses import all_words, hidden_patches, sharper
from medzoo.vlm.ecamp.masking import DESCRIPTORS, hidden, hide_words, marks, weights
from medzoo.vlm.ecamp.module import ECAMP
from medzoo.vlm.ecamp.network import Autoencoder, Reader, SuperResolution, draw_kept, window_about
from medzoo.vlm.text.bert import BertSize
from medzoo.vlm.text.wordpiece import SPECIALS, WordPiece

TINY: dict[str, Any] = {
    "model.size": 64, "model.batch": 8, "model.words": 24, "data.train": 24, "data.val": 6, "data.test": 9,
    "data.pixels": 64,
}  # fmt: skip
PIECES = ["[CLS]", "there", "is", "no", "large", "effusion", ".", "small", "##ish", "mass", "[SEP]", "[PAD]", "[PAD]"]
EMPTY, SMALL = ["[CLS]", "there", "is", "no", "thing", "[SEP]"], ["[CLS]", "a", "small", "mass", "[SEP]"]
PLAIN = ["[CLS]", "the", "patient", "is", "rotated", "[SEP]", "[PAD]"]


class TestECAMP(ModelContract):
    name: ClassVar[str] = "ecamp"
    tiny: ClassVar[dict[str, Any]] = TINY
    resumes: ClassVar[int | None] = 2


def test_the_recipes_are_these_and_the_paper_has_the_published_settings_and_sizes() -> None:
    assert packaged(["ecamp"]) == {"ecamp/default", "ecamp/paper"}
    settings = resolved("ecamp/paper")["model"]["init_args"]
    wanted = {
        "backbone": "vit_base_patch16_224", "size": [224, 224], "mean": 0.4721, "spread": 0.3037, "mask": 0.75,
        "decoder": 512, "decoder_layers": 4, "decoder_heads": 16, "sr_final_relu": True, "width": 768,
        "text_layers": 6, "text_heads": 6, "inner": 1536, "pieces": 30_000, "words": 256, "descriptors": "same",
        "lr": 1.5e-4, "epochs": 120,
    }  # fmt: skip
    assert {name: settings[name] for name in wanted} == wanted
    vit, decoder = 85_798_656, 768 * 512 + 512 + 512 + 4 * 3_152_384 + 2 * 512 + (512 + 1) * 768
    assert parameters("ecamp/paper") == vit + decoder + 168
    with torch.device("meta"):
        reader = Reader(BertSize(30_000, 768, 6, 6, 1536, 256), 768)
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in reader.named_children()}
    assert count["bridge"] == 590_592
    assert count["bert"] == pytest.approx(23.2e6 + 28.4e6, rel=2e-3)
    assert sum(count[name] for name in ("words", "look", "mean", "feed", "norms")) == pytest.approx(7.7e6, rel=2e-2)


def test_three_quarters_of_the_patches_are_hidden_and_none_is_lost() -> None:
    kept, mask = draw_kept(196, 0.75, torch.rand(5, 196, generator=torch.Generator().manual_seed(0)))
    assert kept.shape == (5, 49)
    assert mask.sum(1).tolist() == [147] * 5
    for places, hides in zip(kept, mask, strict=True):
        assert sorted([*places.tolist(), *hides.nonzero()[:, 0].tolist()]) == list(range(196))


def test_kinds_of_words() -> None:
    kinds = marks(PIECES)
    named = [[piece for piece, yes in zip(PIECES, part, strict=True) if yes] for part in kinds]
    assert named[0] == PIECES[1:10]
    assert named[1] == ["effusion", "mass"]
    assert named[2] == ["no", "large", "small", "##ish"]
    assert named[3] == ["there", "is", "no"]


def test_entities_are_hidden_more_often_and_what_is_no_word_never() -> None:
    rng = np.random.default_rng(0)
    for descriptor in DESCRIPTORS:
        share = np.mean([hidden(PIECES, rng, descriptor) for _ in range(4000)], axis=0)
        assert share[[0, 10, 11, 12]].max() == 0
        assert share[[5, 9]] == pytest.approx(0.75, abs=0.03)
        assert share[[1, 2, 6]] == pytest.approx(0.70, abs=0.03)
        assert share[4] == pytest.approx({"same": 0.70, "always": 1.0, "never": 0.0}[descriptor], abs=0.03)
        assert share[8] == share[7]  # a word's pieces share their fate
    plain = np.mean([hidden(PLAIN, rng) for _ in range(4000)], axis=0)
    assert plain[1:5] == pytest.approx(0.75, abs=0.03)


def test_weights_sum_to_the_length_and_go_from_phrases_to_descriptors() -> None:
    for pieces in (
        PIECES,
        PLAIN,
        ["[CLS]", "there", "is", "no", "thing", "[SEP]"],
        ["[CLS]", "a", "small", "mass", "[SEP]"],
    ):
        assert weights(pieces).sum() == pytest.approx(len(pieces))
    assert weights(PLAIN).tolist() == [1.0] * len(PLAIN)
    assert weights(SMALL).tolist() == [1.0] * 5
    found, size, n_dim, n_mask, n_dm = weights(PIECES), len(PIECES), 3, 4, 1
    factor = (0.95 * (n_dim - n_dm) + n_mask) / (n_mask - 0.95 * n_dm)
    assert found[1] == pytest.approx(0.05)
    assert found[3] == pytest.approx(0.05 * factor)  # «no» is both
    assert found[4] == pytest.approx(factor)
    bare = weights(EMPTY)
    assert bare[4] == pytest.approx(6 / (6 - 0.95 * 3))
    assert size == 13


def test_texts_become_pieces_of_one_length() -> None:
    tokenizer = WordPiece([*SPECIALS, "no", "mass", "."])
    found = hide_words(tokenizer, ["No mass.", "mass"], 6, [np.random.default_rng(n) for n in (0, 1)], "always")
    assert found.ids.tolist() == [[2, 5, 6, 7, 3, 0], [2, 6, 3, 0, 0, 0]]
    assert bool(found.hidden[0, 1])  # a descriptor
    assert found.entities[:, 1:3].tolist() == [[False, True], [True, False]]
    assert found.weights.sum(1).tolist() == pytest.approx([6.0, 6.0])


def test_losses_count_all_pixels_and_all_words() -> None:
    g = torch.Generator().manual_seed(0)
    found, wanted = torch.randn(2, 16, 12, generator=g), torch.randn(2, 16, 12, generator=g)
    _, mask = draw_kept(16, 0.75, torch.rand(2, 16, generator=g))
    each = hidden_patches(found, wanted, mask)
    assert each[0].item() == pytest.approx(0.75 * float((found - wanted)[0][mask[0]].square().mean()), rel=1e-5)
    image, target = torch.randn(1, 3, 8, 8, generator=g), torch.randn(1, 3, 8, 8, generator=g)
    inside = (image - target)[:, :, 2:6, 4:8].square().sum() / image.numel()
    assert sharper(image, target, torch.tensor([[2, 4]]), (4, 4)).item() == pytest.approx(float(inside), rel=1e-5)
    logits, ids, counts = torch.randn(2, 3, 5, generator=g), torch.tensor([[0, 1, 4], [2, 2, 3]]), torch.rand(2, 3)
    plain = -logits.log_softmax(2).gather(2, ids[..., None])[..., 0] * counts
    assert torch.allclose(all_words(logits, ids, counts), plain.mean(1))


def test_patches_and_images_are_two_views_of_the_same() -> None:
    net = Autoencoder("test_vit", (32, 64), 16, 1, 2)
    image = torch.rand(2, 3, 32, 64)
    assert net.to_patches(image).shape == (2, 8, 768)
    assert torch.equal(net.to_image(net.to_patches(image)), image)
    assert sum(p.numel() for p in SuperResolution().parameters()) == 168


def test_a_window_lies_about_what_is_looked_at_and_within_the_image() -> None:
    kept = torch.tensor([[0, 5, 13], [0, 5, 13]])
    corner = window_about(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), kept, (4, 4), (2, 2))
    assert corner.tolist() == [[0, 0], [2, 0]]


@pytest.fixture
def parts() -> tuple[Autoencoder, Reader, Tensor, Tensor]:
    torch.manual_seed(0)
    net, reader = Autoencoder("test_vit", (64, 64), 16, 1, 2), Reader(BertSize(20, 16, 1, 2, 16, 8, 0.0), 64)
    return net, reader, torch.rand(2, 3, 64, 64), torch.randint(20, (2, 8))


def reached(module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


def test_images_teach_no_words_and_words_teach_the_encoder_but_not_the_decoder(
    parts: tuple[Autoencoder, Reader, Tensor, Tensor],
) -> None:
    net, reader, image, ids = parts
    kept, mask = draw_kept(16, 0.75, torch.rand(2, 16))
    rebuilt = net(image, kept)
    logits, _ = reader(ids, rebuilt.latent)
    for loss, taught in (
        (hidden_patches(rebuilt.patches, net.to_patches(image), mask).sum(), {"vit", "decoder"}),
        (rebuilt.sharp.square().mean(), {"vit", "decoder", "sharpen"}),
        (all_words(logits, ids, torch.ones(2, 8)).sum(), {"vit", "reader"}),
    ):
        net.zero_grad()
        reader.zero_grad()
        loss.backward(retain_graph=True)
        names = reached(net)
        found = {"vit"} if any(name.startswith("vit.blocks") for name in names) else set()
        found |= {"decoder"} if "pixels.weight" in names or "into.weight" in names else set()
        found |= {"sharpen"} if "sharpen.first.weight" in names else set()
        found |= {"reader"} if {"bridge.weight", "mean.weight", "look.query.weight"} <= reached(reader) else set()
        assert found == taught


def test_words_see_single_patches_and_their_mean_but_no_hidden_one(
    parts: tuple[Autoencoder, Reader, Tensor, Tensor],
) -> None:
    net, reader, image, ids = parts
    kept, mask = draw_kept(16, 0.75, torch.rand(2, 16))
    with torch.no_grad():
        logits, attention = reader(ids, net(image, kept).latent)
        changed = net.to_image(torch.where(mask[..., None], torch.rand(2, 16, 768), net.to_patches(image)))
        same, _ = reader(ids, net(changed, kept).latent)
        plain: list[Tensor] = []
        for part in (reader.look.out, reader.mean):
            keep = part.weight.clone()
            part.weight.zero_()
            plain.append(reader(ids, net(image, kept).latent)[0])
            part.weight.copy_(keep)
    assert torch.allclose(attention.sum(2), torch.ones(2, 8), atol=1e-5)
    assert torch.allclose(same, logits, atol=1e-5)
    assert all((one - logits).abs().max() > 1e-4 for one in plain)


def test_after_training_the_words_of_a_report_are_found_worse_with_the_image_of_another() -> None:
    """Three grey levels, each with its word, which is always hidden: 150 steps, then the images change places."""
    torch.manual_seed(0)
    tokenizer = WordPiece([*SPECIALS, "there", "is", "effusion", "mass", "nodule"])
    net, reader = Autoencoder("test_vit", (32, 32), 16, 1, 2), Reader(BertSize(10, 32, 1, 2, 32, 8, 0.0), 64)
    optimiser = torch.optim.Adam([*net.parameters(), *reader.parameters()], 0.003)
    kinds = torch.arange(24) % 3
    ids = tokenizer([f"There is {('effusion', 'mass', 'nodule')[kind]}" for kind in kinds], 8).ids
    hides = torch.zeros_like(ids, dtype=torch.bool)
    hides[:, 3] = True
    counts = torch.ones(ids.shape)

    def words(image: Tensor) -> Tensor:
        kept, mask = draw_kept(4, 0.75, torch.rand(len(image), 4))
        rebuilt = net(image, kept)
        logits, _ = reader(ids.masked_fill(hides, tokenizer.places["[MASK]"]), rebuilt.latent)
        teach = hidden_patches(rebuilt.patches, net.to_patches(image), mask).mean() if net.training else 0.0
        return all_words(logits, ids, counts).mean() + teach

    for _ in range(150):
        image = (kinds[:, None, None, None] - 1.0) + 0.3 * torch.randn(24, 3, 32, 32)
        optimiser.zero_grad()
        words(image).backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        own, other = words(image).item(), words(image.roll(1, 0)).item()
    assert own < 0.1
    assert other > own + 0.3


def test_what_it_leaves_is_a_transformer_of_timm_that_others_start_from(tmp_path: Path) -> None:
    flags = [f"--{key}={value}" for key, value in TINY.items()]
    more = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--quiet"]
    assert main(["fit", "--model", "ecamp", *flags, *more, "--run_dir", str(tmp_path / "run")]) == 0
    left = tmp_path / "run/encoder.safetensors"
    net = timm.create_model("test_vit", img_size=(64, 64), num_classes=3)
    missing, unexpected = net.load_state_dict(load_file(left), strict=False)
    assert set(missing) == {"head.weight", "head.bias"}
    assert not unexpected
    small = ["--data=report-phantoms", "--data.train=16", "--data.val=6", "--data.test=6", "--data.pixels=32"]
    start = ["--model.backbone=test_vit", "--model.size=64", "--model.batch=8", f"--model.weights={left}"]
    for model in ("classifier", "carzero"):
        assert main(["fit", "--model", model, *small, *start, *more, "--run_dir", str(tmp_path / model)]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbone": "resnet18"}, "--model.backbone: expected a vision transformer"),
        ({"backbone": "mobilevit_xxs"}, "--model.backbone: expected a vision transformer"),
        ({"mask": 1.0}, "--model.mask: expected a share between 0 and 1, got 1.0"),
        ({"window": "corner"}, "--model.window: expected attention, centre, got corner"),
        ({"descriptors": "often"}, "--model.descriptors: expected same, always, never"),
        ({"words": 1}, "--model.words: expected at least 3"),
    ],
)
def test_a_wrong_option_costs_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        ECAMP(**{"backbone": "test_vit", "size": 32, "decoder": 16, "decoder_heads": 2, **options})
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
