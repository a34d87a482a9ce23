from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from medzoo.core.phantoms import radiograph
from medzoo.landmark.igu_aug.information import mutual_information
from medzoo.landmark.igu_aug.intensity import Search, around, estimate, interval, salient_points

SEARCH = Search(radius=6, side=13, points=8, borders=(1.0, 3.0))


def heads(count: int) -> Tensor:
    return torch.stack([torch.from_numpy(radiograph("head", s, 96).image).float()[None] for s in range(count)])


@pytest.mark.parametrize("operator", ["brightness", "contrast"])
@pytest.mark.parametrize("indicator", ["joint", "counts"])
def test_the_interval_contains_one_and_widens_when_less_information_is_asked_for(operator: str, indicator: str) -> None:
    image = heads(1)
    points = salient_points(image[0, 0], torch.ones(96, 96, dtype=torch.bool), 8)[None]
    search = Search(indicator, radius=6, side=13)  # type: ignore[arg-type]
    spans = []
    for mean in (2.0, 1.0, 0.3):
        low, high = interval(image, points, operator, mean, 0.1, search)
        assert 0.1 <= low <= 1 <= high <= 3
        spans.append((low, high))
    for (low, high), (lower, higher) in pairwise(spans):
        assert lower <= low
        assert high <= higher
    assert spans[-1] != spans[0]


def test_points_are_the_peaks_of_blobs_where_they_may_lie() -> None:
    ys, xs = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    blobs = [(20, 30, 1.0), (45, 12, 0.5), (50, 50, 0.8)]
    image = sum(a * torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 18) for x, y, a in blobs)
    assert isinstance(image, Tensor)
    everywhere = torch.ones(64, 64, dtype=torch.bool)
    assert salient_points(image, everywhere, 2).tolist() == [[20, 30], [50, 50]]
    everywhere[:40] = False
    assert salient_points(image, everywhere, 1).tolist() == [[50, 50]]
    assert len(salient_points(torch.zeros(64, 64), everywhere, 5)) == 0


def test_patches_are_the_squares_around_points() -> None:
    image = torch.rand(2, 1, 30, 40)
    patches = around(image, torch.tensor([[[20.0, 10.0]], [[5.0, 25.0]]]), 5)
    torch.testing.assert_close(patches[0, 0].view(5, 5), image[0, 0, 8:13, 18:23])
    torch.testing.assert_close(patches[1, 0].view(5, 5), image[1, 0, 23:28, 3:8])
    even = around(image, torch.tensor([[[20.0, 10.0]], [[5.0, 25.0]]]), 4)
    torch.testing.assert_close(even[0, 0].view(4, 4), image[0, 0, 8:12, 18:22])


def test_information_is_between_patches_of_64_pixels_whatever_the_radius_of_the_entropy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = set()

    def information(a: Tensor, b: Tensor, indicator: str) -> Tensor:
        seen.add((a.shape[1], b.shape[1]))
        return mutual_information(a, b, indicator)  # type: ignore[arg-type]

    monkeypatch.setattr("medzoo.landmark.igu_aug.intensity.mutual_information", information)
    search = Search(radius=6, points=2, borders=(1.0, 3.0))
    estimate(heads(2), lambda i, p, o: p.expand(len(o), -1, -1), search)
    assert seen == {(64 * 64, 64 * 64)}


def test_pixels_fall_into_classes_by_a_given_entropy() -> None:
    images = heads(2)
    _, means = estimate(images, lambda i, p, o: p, SEARCH, torch.full((2, 96, 96), 2.0))
    assert set(means) == {"medium"}
    _, means = estimate(images, lambda i, p, o: p, SEARCH, torch.full((2, 96, 96), 4.0))
    assert set(means) == {"high"}


def test_worse_matches_allow_stronger_augmentation() -> None:
    images = heads(4)

    def apart(shift: float) -> tuple[float, float]:
        def find(image: Tensor, points: Tensor, others: Tensor) -> Tensor:
            del image
            return (points + shift).expand(len(others), -1, -1)

        same = images[:1].expand(4, -1, -1, -1)  # four times one image: matches are as good as the shift is small
        intervals, means = estimate(same, find, SEARCH)
        assert intervals["low"] == intervals["medium"]
        low, high = intervals["high"]["brightness"]
        assert low <= 1 <= high
        return high - low, means["high"]

    near, far = apart(1.0), apart(8.0)
    assert far[1] < near[1]
    assert far[0] > near[0]


def test_images_without_anything_to_see_are_refused() -> None:
    with pytest.raises(ValueError, match="salient points of medium or high entropy, got none"):
        estimate(torch.zeros(3, 1, 32, 32), lambda i, p, o: p.expand(len(o), -1, -1), SEARCH)


def test_no_factor_counts_beyond_the_first_with_too_little_information(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = torch.full((200,), 4.0)
    seen[1:4] = torch.tensor([2.1, 0.5, 2.0])  # the third step falls below μ − σ, the fourth would be nearest to μ

    def information(a: Tensor, b: Tensor, indicator: str) -> Tensor:
        del b, indicator
        return seen[: len(a)]

    monkeypatch.setattr("medzoo.landmark.igu_aug.intensity.mutual_information", information)
    low, high = interval(torch.rand(1, 1, 32, 32), torch.full((1, 1, 2), 16.0), "contrast", 2.0, 0.5, SEARCH)
    assert (low, high) == pytest.approx((0.96, 1.04))
