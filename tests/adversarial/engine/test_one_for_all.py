"""One perturbation or patch for many images."""

from __future__ import annotations

from typing import Any

import torch

from medzoo.adversarial.engine import Patch, Universal, Victim
from medzoo.adversarial.engine.transforms import resized_and_padded, smoothed


def test_universal_perturbation_is_one_and_holds_for_images_it_has_not_seen(trained: Any) -> None:
    victim, eps = Victim(trained.network), 16 / 255
    attack = Universal(eps=eps, epochs=15, batch=5)
    learned = attack.fit(victim, trained.images[:12], trained.labels[:12])
    assert learned.shape == trained.images.shape[1:]
    assert learned.abs().amax() <= eps + 1e-6
    result = attack.apply(victim, trained.images[12:], trained.labels[12:], learned)
    torch.testing.assert_close(result.images, (trained.images[12:] + learned).clamp(0, 1))
    signs = torch.randn(learned.shape, generator=torch.Generator().manual_seed(0)).sign()
    noise = attack.apply(victim, trained.images[12:], trained.labels[12:], eps * signs)
    assert result.success.sum() >= 6 + noise.success.sum()
    whole = attack(victim, trained.images[:12], trained.labels[:12])
    assert torch.equal(whole.images, attack.apply(victim, trained.images[:12], trained.labels[:12], learned).images)


def test_universal_perturbation_leads_to_a_target(trained: Any) -> None:
    target = torch.zeros_like(trained.labels)
    result = Universal(eps=80 / 255, targeted=True)(Victim(trained.network), trained.images, target)
    with torch.no_grad():
        assert torch.equal(trained.network(result.images).argmax(dim=1) == 0, result.success)
    assert result.success.float().mean() > 0.9


def test_patch_changes_its_place_alone(trained: Any) -> None:
    victim = Victim(trained.network)
    attack = Patch(size=(5, 4), corner=(2, 3), epochs=20)
    learned = attack.fit(victim, trained.images, trained.labels)
    result = attack.apply(victim, trained.images, trained.labels, learned)
    rest = result.images.clone()
    assert torch.equal(rest[:, :, 2:7, 3:7], learned.expand(len(rest), 1, 5, 4))
    rest[:, :, 2:7, 3:7] = trained.images[:, :, 2:7, 3:7]
    assert torch.equal(rest, trained.images)
    assert learned.amin() >= 0
    assert learned.amax() <= 1
    grey = attack.apply(victim, trained.images, trained.labels, torch.full_like(learned, 0.5))
    assert result.success.sum() > grey.success.sum()


def test_patch_goes_where_the_generator_says(trained: Any) -> None:
    victim, attack = Victim(trained.network), Patch(size=(6, 6), epochs=2)
    white = torch.ones(1, 6, 6)

    def places(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return attack.apply(victim, trained.images, trained.labels, white, generator).images

    assert torch.equal(places(0), places(0))
    assert not torch.equal(places(0), places(1))
    assert ((places(0) == 1).flatten(1).sum(dim=1) == 36).all()


def test_patch_in_a_volume(network: Any) -> None:
    images = torch.rand(4, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    result = Patch(size=(3, 4, 5), epochs=2)(Victim(network(3, 2, 3)), images, torch.tensor([0, 1, 2, 0]))
    changed = (result.images != images).any(dim=1).flatten(1).sum(dim=1)
    assert (changed == 60).all()


def test_shrunk_image_is_whole_and_padded_with_the_darkest() -> None:
    images = torch.ones(6, 2, 10, 12)
    seen = resized_and_padded(images, 1.0, 0.5, -3.0, torch.Generator().manual_seed(0))
    assert seen.shape == images.shape
    rows = (seen[:, 0] > 0).any(dim=2).sum(dim=1)
    assert rows.min() >= 5
    assert rows.unique().numel() > 2  # each image has a draw of its own
    assert ((seen == -3) | ((seen - 1).abs() < 1e-6)).all()
    assert torch.equal(resized_and_padded(images, 0.0, 0.5, 0.0, torch.Generator()), images)


def test_smoothing_of_gradients_is_gaussian_and_channels_stay_apart() -> None:
    spike = torch.zeros(1, 2, 9, 9, 9)
    spike[0, 0, 4, 4, 4] = 1
    out = smoothed(spike, 7)
    assert out[0, 1].abs().max() == 0
    torch.testing.assert_close(out.sum(), torch.tensor(1.0))
    line = torch.exp(-(torch.linspace(-3, 3, 7) ** 2) / 2)
    torch.testing.assert_close(out[0, 0, 1:8, 4, 4] / out[0, 0, 4, 4, 4], line)
    torch.testing.assert_close(out, out.transpose(2, 4))
