from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medzoo.landmark.igu_aug.information import entropy_map, mutual_information


def slow_entropy(image: np.ndarray, x: int, y: int, radius: int) -> float:
    """Entropy of the disc around one pixel, by a loop."""
    grey = np.rint(image * 255).astype(int)
    values = [
        grey[j, i]
        for j in range(image.shape[0])
        for i in range(image.shape[1])
        if (i - x) ** 2 + (j - y) ** 2 <= radius**2
    ]
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log2(share)).sum())


@pytest.mark.parametrize("size", [(40, 31), (33, 36)])
def test_entropy_is_that_of_a_loop_also_at_borders(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 12, size) / 12
    dense = entropy_map(torch.from_numpy(image).float()[None, None], 6, stride=1)[0]
    for x, y in [(0, 0), (15, 20), (size[1] - 1, size[0] - 1), (2, 30)]:
        assert dense[y, x].item() == pytest.approx(slow_entropy(image, x, y, 6), abs=1e-4)
    coarse = entropy_map(torch.from_numpy(image).float()[None, None], 6)[0]
    assert coarse.shape == size
    torch.testing.assert_close(coarse[1::3, 1::3], dense[1::3, 1::3])


def test_entropy_does_not_depend_on_how_many_rows_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.randint(12, (2, 1, 47, 41)) / 12
    whole = entropy_map(image, 5)
    for rows in (1, 3):
        monkeypatch.setattr("medzoo.landmark.igu_aug.information._NEIGHBOURS", rows * 14 * 121)
        torch.testing.assert_close(entropy_map(image, 5), whole)


def test_a_constant_image_tells_nothing_and_a_full_one_at_most_eight_bits() -> None:
    assert entropy_map(torch.full((1, 1, 32, 32), 0.3)).abs().max() == 0
    every_level_once = torch.randperm(256).view(1, 1, 16, 16) / 255
    torch.testing.assert_close(entropy_map(every_level_once, 24, stride=1), torch.full((1, 16, 16), 8.0))


def test_entropy_does_not_know_where_in_the_patch_a_pixel_is() -> None:
    torch.manual_seed(0)
    image = torch.rand(
        1, 1, 13, 13
    )  # the disc of radius 9 around the middle leaves the corners out: permute the middle
    shuffled = image.clone()
    middle = image[..., 3:10, 3:10].flatten()
    shuffled[..., 3:10, 3:10] = middle[torch.randperm(49)].view(7, 7)
    one, other = (entropy_map(i, 6, stride=1)[0, 6, 6] for i in (image, shuffled))
    torch.testing.assert_close(one, other)


def test_a_patch_tells_all_about_itself_and_nothing_about_an_independent_one() -> None:
    torch.manual_seed(0)
    a = (torch.randint(16, (2, 16384)) + 0.5) / 16
    own = mutual_information(a, a)
    torch.testing.assert_close(own, torch.full((2,), 4.0), atol=0.01, rtol=0)
    assert mutual_information(a, a.roll(1, 0)).max() < 0.02
    torch.testing.assert_close(mutual_information(a, 1 - a), own)  # an exact function of each other


def test_joint_information_has_its_value_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    b = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    by_hand = 1 + (-0.25 * math.log2(0.25) - 0.75 * math.log2(0.75)) - 1.5  # H(a) + H(b) - H(a, b)
    assert mutual_information(a, b).item() == pytest.approx(by_hand, abs=1e-6)


def test_the_information_of_the_public_code_is_that_of_label_sequences() -> None:
    torch.manual_seed(0)
    a, b = torch.rand(1, 200), torch.rand(1, 200)
    counts = [np.bincount((p[0] * 255).round().int().numpy(), minlength=256) for p in (a, b)]
    expected = 0.0
    for x in np.unique(counts[0]):
        for y in np.unique(counts[1]):
            both = np.mean((counts[0] == x) & (counts[1] == y))
            if both:
                expected += both * np.log2(both / (np.mean(counts[0] == x) * np.mean(counts[1] == y)))
    assert mutual_information(a, b, "counts").item() == pytest.approx(expected, abs=1e-5)
    shuffled = a[:, torch.randperm(200)]
    torch.testing.assert_close(mutual_information(shuffled, b, "counts"), mutual_information(a, b, "counts"))
