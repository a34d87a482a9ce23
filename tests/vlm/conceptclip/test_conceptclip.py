"""ConceptCLIP: the contract of the house, and the signs of its two losses."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved
from medzoo.vlm.conceptclip.concepts import ConceptFinder, Span
from medzoo.vlm.conceptclip.losses import image_text, region_concept
from medzoo.vlm.conceptclip.module import ConceptCLIP
from medzoo.vlm.conceptclip.network import Heads
from medzoo.vlm.images import ImageEncoder, ImageFeatures
from medzoo.vlm.text.encoder import TextFeatures

TEN, MINUS_TEN = torch.tensor(10.0), torch.tensor(-10.0)


class TestConceptCLIP(ModelContract):
    name: ClassVar[str] = "concept-clip"
    tiny: ClassVar[dict[str, Any]] = {
        "model.size": 32, "model.width": 32, "model.batch": 8, "data.train": 24, "data.val": 6, "data.test": 9,
        "data.pixels": 32,
    }  # fmt: skip
    resumes: ClassVar[int | None] = 2


def test_the_recipes_are_these_and_the_paper_has_the_published_settings() -> None:
    assert packaged(["concept-clip"]) == {"concept-clip/default", "concept-clip/paper"}
    settings = resolved("concept-clip/paper")["model"]["init_args"]
    wanted = {
        "backbone": "vit_so400m_patch14_siglip_384", "size": [384, 384], "fit": "stretch", "mean": 0.5, "spread": 0.5,
        "width": 1152, "words": 77, "concept_weight": 0.5, "denied_concepts": True, "shared_concepts": False,
        "alpha": 0.5, "nearest": 128, "lr": 3e-4, "epochs": 20, "batch": 128,
    }  # fmt: skip
    assert {name: settings[name] for name in wanted} == wanted
    assert parameters("concept-clip/paper") == 428_225_600 + 4 * 1152**2 + 4


def test_a_network_without_a_class_token_is_read_by_its_attention_pool() -> None:
    encoder = ImageEncoder("vit_base_patch16_siglip_224", (32, 32), 768, 0.5, 0.5).eval()
    with torch.no_grad():
        found = encoder(torch.full((1, 1, 32, 32), 0.5))
        wanted = encoder.model(torch.zeros(1, 3, 32, 32))
    assert found.tokens.shape == (1, 4, 768)
    assert torch.allclose(found.globals, wanted, atol=1e-5)


def test_one_patch_that_is_the_concept_costs_what_scale_and_bias_say() -> None:
    unit = torch.nn.functional.normalize(torch.randn(1, 1, 8), dim=-1)
    right = torch.ones(1, 1, dtype=torch.bool)
    loss = region_concept(unit, unit[0], TEN, torch.tensor(-3.0), right)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-7)), rel=1e-4)


def test_gradients_reach_one_patch_for_each_image_and_concept() -> None:
    g = torch.Generator().manual_seed(0)
    patches = torch.nn.functional.normalize(torch.randn(3, 9, 8, generator=g), dim=-1).requires_grad_()
    concepts = torch.nn.functional.normalize(torch.randn(1, 8, generator=g), dim=-1)
    region_concept(patches, concepts, TEN, MINUS_TEN, torch.tensor([[True], [False], [False]])).backward()
    assert patches.grad is not None
    assert (patches.grad.abs().sum(2) > 0).sum(1).tolist() == [1, 1, 1]


def test_without_concepts_the_loss_is_zero_and_finite() -> None:
    patches = torch.randn(2, 4, 8, requires_grad=True)
    loss = region_concept(patches, torch.zeros(0, 8), TEN, MINUS_TEN, torch.zeros(2, 0, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert patches.grad is not None
    assert patches.grad.abs().max() == 0


def test_image_text_loss_is_siglip_s() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    z = 2 * torch.eye(4) - 1
    wanted = -torch.nn.functional.logsigmoid(z * logits).sum() / 4
    assert image_text(logits, torch.eye(4, dtype=torch.bool)).item() == pytest.approx(wanted.item())


def finder() -> ConceptFinder:
    names = {"effusion": "pleural effusion", "pleural effusion": "pleural effusion", "mass": "lung mass"}
    return ConceptFinder(names, lambda text: text.lower().replace(".", " . ").split())


def test_concepts_are_found_by_their_longest_name_in_any_number() -> None:
    found = finder()("No pleural effusions. A mass and an effusion", 50)
    assert found == [Span("pleural effusion", 1, 3), Span("lung mass", 5, 6), Span("pleural effusion", 8, 9)]
    assert finder()("No pleural effusion", 2) == []  # cut


def test_a_span_is_the_mean_of_its_words_behind_the_first_token() -> None:
    torch.manual_seed(0)
    heads = Heads(8)
    tokens = torch.randn(2, 6, 8)
    text = TextFeatures(tokens.mean(1), tokens, torch.ones(2, 6, dtype=torch.bool))
    (found,) = heads.span_units(text, torch.tensor([1]), torch.tensor([1]), torch.tensor([3]))
    wanted = torch.nn.functional.normalize(heads.words(tokens[1, 2:4]).mean(0), dim=0)
    assert torch.allclose(found, wanted, atol=1e-6)


def small(**options: Any) -> ConceptCLIP:
    given = {"backbone": "test_efficientnet", "size": 32, "stride": 8, "width": 16, **options}
    return ConceptCLIP(**given)


def features() -> tuple[ImageFeatures, TextFeatures]:
    g = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 6, 16, generator=g)
    image = ImageFeatures(torch.randn(3, 16, generator=g), torch.randn(3, 4, 16, generator=g), (2, 2))
    return image, TextFeatures(tokens.mean(1), tokens, torch.tensor([[True] * 6, [True] * 4 + [False] * 2]))


def test_without_patches_a_score_is_that_of_the_wholes_and_with_them_the_mean() -> None:
    image, text = features()
    plain, mixed, near = small(alpha=0.0), small(alpha=0.5, nearest=1), small(alpha=1.0, nearest=1)
    mixed.load_state_dict(plain.state_dict())
    near.load_state_dict(plain.state_dict())
    whole = plain.similarity(image, text)
    assert torch.equal(whole, plain.heads.whole(image, text))
    assert torch.allclose(mixed.similarity(image, text), (whole + near.similarity(image, text)) / 2, atol=1e-5)
    assert torch.allclose(near.similarity(image, text), near.attention_maps(image, text).amax((2, 3)), atol=1e-5)


def test_padding_of_a_text_changes_no_score() -> None:
    image, text = features()
    model = small()
    short = TextFeatures(text.globals[1:], text.tokens[1:, :4], text.mask[1:, :4])
    assert torch.allclose(model.similarity(image, short), model.similarity(image, text)[:, 1:], atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_a_concept_of_two_captions_is_right_for_both_or_for_its_own(shared: bool) -> None:
    model = small(shared_concepts=shared)
    found = [(0, Span("a", 0, 1)), (1, Span("a", 0, 1)), (1, Span("b", 1, 2))]
    right: Tensor = model._right(2, found)
    assert right.tolist() == (
        [[True, True, False], [True, True, True]] if shared else [[True, False, False], [False, True, True]]
    )


@pytest.mark.parametrize(
    ("option", "value"), [("alpha", 2.0), ("nearest", 0), ("concept_weight", -1.0), ("backbone", "no")]
)
def test_a_wrong_option_costs_one_line(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"--model.{option}: ") as error:
        small(**{option: value})
    assert "\n" not in str(error.value)
