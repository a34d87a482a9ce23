"""Losses of APPLE (Xu et al., 2024), reconstructed after FAAP (Wang et al., CVPR 2022), its ancestor on images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medzoo.fairness.losses import equal_groups


def discriminator_loss(logits: Tensor, group: Tensor) -> Tensor:
    """Return the cross-entropy of the groups, all of which count alike; 0 with gradients where none is known.

    Args:
        logits: `(B, G)` of perturbed latents without gradient to the perturber.
        group: `(B,)` int64, −1 where unknown.
    """
    each = F.cross_entropy(logits, group.clamp(min=0), reduction="none")
    return equal_groups(each, group, logits.shape[1])


def confusion_loss(logits: Tensor, group: Tensor, entropy: float = 1.0, most: float = 3.0) -> Tensor:
    """Return what the perturber makes small: `−min(CE, 3) − α H`, all groups count alike.

    The first part rewards wrong answers, which tell two groups apart as well as right ones; the entropy H asks for
    none at all.

    Args:
        logits: `(B, G)` with gradients to the perturber.
        group: `(B,)` int64, −1 where unknown.
        entropy: α.
        most: Cross-entropy above which nothing is gained.
    """
    each = F.cross_entropy(logits, group.clamp(min=0), reduction="none").clamp(max=most)
    log_p = logits.log_softmax(1)
    spread = -(log_p.exp() * log_p).sum(1)
    return equal_groups(-each - entropy * spread, group, logits.shape[1])


def adversary_losses(
    discriminators: Iterable[nn.Module], latents: Sequence[Tensor], group: Tensor, entropy: float
) -> tuple[Tensor, Tensor]:
    """Return the sum of `discriminator_loss` and the mean of `confusion_loss` over layers.

    The first has gradients to the discriminators alone, the second to what made the latents alone.

    Args:
        discriminators: One of each layer.
        latents: Perturbed, `(B, C, h, w)` of each layer.
        group: `(B,)` int64, −1 where unknown.
        entropy: α.
    """
    sure, confused = [], []
    for discriminator, latent in zip(discriminators, latents, strict=True):
        sure.append(discriminator_loss(discriminator(latent.detach()), group))
        frozen = {name: p.detach() for name, p in discriminator.named_parameters()}
        confused.append(confusion_loss(functional_call(discriminator, frozen, (latent,)), group, entropy))
    return torch.stack(sure).sum(), torch.stack(confused).mean()


def probe_accuracy(train: Tensor, train_group: Tensor, test: Tensor, test_group: Tensor, groups: int) -> float:
    """Return the balanced accuracy with which a new network tells the group from features of latents.

    A perceptron of 64 hidden units; 300 steps of Adam on all samples at once, from the same start each time.

    Args:
        train: `(N, F)` features, see `pooled`.
        train_group: `(N,)` int64, −1 left out.
        test: `(M, F)`.
        test_group: `(M,)` int64, −1 left out.
        groups: Number of groups.

    Returns:
        Mean over the groups of the test; 1 / G is chance. NaN without two groups in either.
    """
    known, asked = train_group >= 0, test_group >= 0
    if len(train_group[known].unique()) < 2 or len(test_group[asked].unique()) < 2:
        return float("nan")
    with torch.inference_mode(False), torch.enable_grad():  # a test has no gradients otherwise
        x, y, own = train[known].clone(), test[asked].clone(), train_group[known].clone()
        centre, spread = x.mean(0), x.std(0).clamp(min=1e-6)
        x, y = (x - centre) / spread, (y - centre) / spread
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(x.shape[1], 64, generator=generator) / x.shape[1] ** 0.5, torch.zeros(64)]
        weights += [torch.randn(64, groups, generator=generator) / 8, torch.zeros(groups)]
        first, shift, second, level = (w.requires_grad_(True) for w in weights)
        optimiser = torch.optim.Adam([first, shift, second, level], 0.01)
        for _ in range(300):
            loss = discriminator_loss(F.relu(x @ first + shift) @ second + level, own)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found = (F.relu(y @ first + shift) @ second + level).argmax(1)
    truth = test_group[asked]
    return float(torch.stack([(found[truth == g] == g).float().mean() for g in truth.unique()]).mean())


def pooled(latent: Tensor) -> Tensor:
    """Return mean, standard deviation and maximum of each channel of latents `(B, C, h, w)`, `(B, 3C)`."""
    flat = latent.flatten(2)
    return torch.cat([flat.mean(2), flat.std(2), flat.amax(2)], 1)
