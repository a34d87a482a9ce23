"""CARZero learns a small world of six patterns: what it scores, where it looks, and what takes both away."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multilabel_auroc

from medzoo.vlm.carzero.losses import contrastive, pair_up
from medzoo.vlm.carzero.network import SimR, fuse, maps
from medzoo.vlm.images import ImageEncoder, ImageFeatures
from medzoo.vlm.text.bert import BertSize
from medzoo.vlm.text.encoder import TextEncoder
from medzoo.vlm.text.wordpiece import WordPiece, build_vocabulary

NAMES = ("alpha", "bravo", "carat", "delta", "echo", "folly")
SIZE, CELL, WIDTH = 32, 8, 64
SIDE = SIZE // CELL
CHANCE = 1 / SIDE**2
"""Part of an image that a pattern covers."""


class World(NamedTuple):
    """Images `(n, 1, 32, 32)`, whether each has each pattern `(n, 6)`, and in which of the 16 cells `(n, 6)`."""

    images: Tensor
    present: Tensor
    cells: Tensor


class Found(NamedTuple):
    """Of images not trained on: mean AUROC of «There is X» (also for the labels of other images) and of «There is
    no X», and how often the map's peak lies in the pattern's cell.
    """

    affirmed: float
    of_others: float
    denied: float
    pointed: float


def draw(count: int, patterns: Tensor, g: torch.Generator) -> World:
    """Draw noise with patterns, each with a chance of a half, in cells that no two share."""
    present = torch.rand(count, len(NAMES), generator=g) < 0.5
    cells = torch.rand(count, SIDE**2, generator=g).argsort(1)[:, : len(NAMES)]
    grid = torch.zeros(count, SIDE**2, CELL, CELL)
    rows = torch.arange(count)[:, None].expand_as(cells)
    grid[rows, cells] = 0.7 * patterns * present[:, :, None, None]
    images = grid.unflatten(1, (SIDE, SIDE)).transpose(2, 3).reshape(count, 1, SIZE, SIZE)
    return World(images + 0.3 * torch.rand(images.shape, generator=g), present, cells)


def sentence(name: str, there: bool = True) -> str:
    return f"There is {'' if there else 'no '}{name}"


def learn(steps: int, targets: str = "dedup", batch: int = 24, shuffled: bool = False, patches: bool = True) -> Found:
    """Train on 2,000 images with a sentence each, and look at 400 others.

    `shuffled` gives each image the sentences of another; without `patches` the fusion sees the whole image alone.
    """
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    patterns = (torch.rand(len(NAMES), CELL, CELL, generator=g) < 0.5).float()
    seen, new = draw(2000, patterns, g), draw(400, patterns, g)
    said = [[sentence(n, bool(p)) for n, p in zip(NAMES, row, strict=True)] for row in seen.present]
    if shuffled:
        said = [said[i] for i in torch.randperm(len(said), generator=g).tolist()]
    vocabulary = build_vocabulary((s for row in said for s in row), 100)
    cut = WordPiece(vocabulary)
    bert = BertSize(len(vocabulary), WIDTH, layers=2, heads=4, inner=128, positions=16, dropout=0.0)
    text, image = TextEncoder(bert, slots=16), ImageEncoder("test_efficientnet", (SIZE, SIZE), WIDTH, 0.3, 0.3)
    model = torch.nn.ModuleList([text, image, SimR(WIDTH, 2, 4, 128, "linear", dropout=0.0)])
    fusion = model[2]
    assert isinstance(fusion, SimR)

    def look(images: Tensor) -> ImageFeatures:
        features: ImageFeatures = image(images)
        return features if patches else replace(features, tokens=features.tokens[:, :0])

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        chosen = torch.randint(len(said), (batch,), generator=g)
        which = torch.randint(len(NAMES), (batch,), generator=g)
        rows = [said[i] for i in chosen]
        drawn = [[row[k]] for row, k in zip(rows, which, strict=True)]
        texts, right, out = pair_up(drawn, rows, targets)
        tokens = cut(texts, 16)
        sides = fuse(fusion, look(seen.images[chosen]), text(tokens.ids, tokens.words)).sides()
        loss = torch.stack([contrastive(side, right, out) for side in sides]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        yes, no = (cut([sentence(n, there) for n in NAMES], 16) for there in (True, False))
        asked, features = text(yes.ids, yes.words), look(new.images)
        denied = fuse(fusion, features, text(no.ids, no.words)).score
        seen_at = maps(fusion, image(new.images), asked).flatten(2).argmax(2)
        score = fuse(fusion, features, asked).score
        return Found(
            float(multilabel_auroc(score, new.present.long(), len(NAMES))),
            float(multilabel_auroc(score, new.present[torch.randperm(len(score), generator=g)].long(), len(NAMES))),
            float(multilabel_auroc(denied, (~new.present).long(), len(NAMES))),
            float((seen_at == new.cells)[new.present].float().mean()),
        )


def test_patterns_are_named_denied_and_pointed_at() -> None:
    found = learn(150)
    assert found.affirmed > 0.93
    assert found.of_others == pytest.approx(0.5, abs=0.05)
    assert found.denied > 0.7
    assert found.pointed > 10 * CHANCE


def test_of_shuffled_pairs_nothing_is_learnt() -> None:
    found = learn(150, shuffled=True)
    assert found.affirmed < 0.7
    assert found.denied < 0.7
    assert found.pointed < 2 * CHANCE


def test_where_the_fusion_sees_no_patches_the_map_points_nowhere() -> None:
    assert learn(150, patches=False).pointed < 4 * CHANCE


@pytest.mark.slow
def test_as_published_with_equal_sentences_called_wrong() -> None:
    found = learn(300, "diagonal", batch=48)
    assert found.affirmed > 0.95
    assert found.denied > 0.7
    assert found.pointed > 10 * CHANCE
