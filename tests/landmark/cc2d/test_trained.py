"""What a matcher that was trained for a minute must show (dossier of CC2D, signs 5 and 7)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medzoo.core.phantoms import radiograph
from medzoo.landmark.matching.cascade import Cascade, patch_sampler
from medzoo.landmark.matching.search import Contrast, find, take_templates
from medzoo.landmark.networks.embedding import Embedders, EmbeddingUNet
from medzoo.landmark.shots import Shots, standardise
from medzoo.landmark.views import View

SIDE = 96
CASCADE = Cascade(Contrast(6, 10.0, 0.07, clamp=False), upsampling="bilinear")


def heads(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Head phantoms and their landmarks."""
    drawn = [radiograph("head", seed, SIDE) for seed in range(first, first + count)]
    images = torch.stack([torch.from_numpy(p.image).float()[None] for p in drawn])
    return images, torch.stack([torch.from_numpy(p.landmarks).float() for p in drawn])


@pytest.fixture(scope="module")
def matcher() -> Embedders:
    """A small network after 150 steps on 32 heads."""
    torch.manual_seed(0)
    network = Embedders([EmbeddingUNet(1, (12, 24, 32, 32, 32), (1,) * 5, (32, 24, 24, 24), 16, "batch")])
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    images, _ = heads(0, 32)
    view, sample = View(1.0), patch_sampler(64, 64, 1.0, 0.8)
    for _ in range(150):
        seen, _ = view(images[torch.randint(len(images), (8,))])
        loss = torch.stack(CASCADE.loss(network, network, seen, 0, sample)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.mark.slow
@torch.no_grad()
def test_all_levels_together_beat_the_finest_and_the_coarsest_alone_and_copying(matcher: Embedders) -> None:
    image, points = heads(0, 1)
    shots: Shots = {"image": image, "points": points}
    tests, truth = heads(1000, 24)
    maps, shown = matcher(standardise(tests), 0), matcher(standardise(image), 0)
    templates = take_templates(shown, points, matcher.strides, bilinear=True)

    def error(levels: slice) -> float:
        found = find(maps[levels], templates[levels], matcher.strides[levels], upsampling="bilinear").points
        return (found - truth).norm(dim=-1).mean().item()

    together = CASCADE.find(matcher, shots, tests, 0)[0]
    product = (together - truth).norm(dim=-1).mean().item()
    assert product == pytest.approx(error(slice(None)))
    assert product < 0.8 * error(slice(-1, None))
    assert product < 0.8 * error(slice(0, 1))
    assert 2 * product < (points - truth).norm(dim=-1).mean().item()


@pytest.mark.slow
@torch.no_grad()
def test_a_translated_query_translates_the_predictions(matcher: Embedders) -> None:
    image, points = heads(0, 1)
    canvas = torch.full((2, 1, SIDE + 64, SIDE + 64), image.median().item())
    for i, corner in enumerate((16, 48)):
        canvas[i, 0, corner : corner + SIDE, corner : corner + SIDE] = image[0, 0]
    shots: Shots = {"image": canvas[:1], "points": points + 16}
    found = CASCADE.find(matcher, shots, canvas, 0).points
    assert (found[0] - shots["points"][0]).abs().max() <= 2
    assert (found[1] - found[0] - 32).abs().max() <= 2
