"""Some landmarks to where the attacker wants them, all others where they were."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.adversarial.ati_fgsm.loss import Head, LandmarkMaps
from medzoo.adversarial.ati_fgsm.maps import discs
from medzoo.adversarial.engine import BIM, Attacked, Victim
from medzoo.adversarial.engine.attack import checked_images
from medzoo.adversarial.engine.frozen import frozen
from medzoo.core.errors import ConfigError

_RADIUS = 0.05  # of the longer side of the map


def ati_fgsm(
    victim: Victim,
    images: Tensor,
    points: Tensor,
    *,
    eps: float,
    alpha: float | None = None,
    steps: int = 300,
    adaptive: bool = True,
    head: Head = "softmax",
    radius: float | None = None,
    floored: bool = False,
    tolerance: float = 2.0,
    generator: torch.Generator | None = None,
    trace: list[Tensor] | None = None,
) -> Attacked:
    """Lead landmarks to points and hold the others where the clean prediction has them (ATI-FGSM, Yao 2020).

    For models that give maps only: the paper's victim has maps of offsets besides, whose term is not here.

    Args:
        victim: Its outputs are maps `(n, K, *S)`.
        images: `(n, C, *S)` within the victim's bounds.
        points: `(n, K, nd)` (x, y[, z]) in pixels of the maps; NaN for a landmark that shall stay.
        eps: Largest change of a pixel, in image units.
        alpha: Length of a step; None takes a twentieth of `eps`, as in the paper's code.
        steps: Steps.
        adaptive: Weigh landmarks by their loss; False is TI-FGSM.
        head: What the maps are.
        radius: Of the disc around a goal, in pixels of the map; None takes a twentieth of its longer side, 1 at least.
        floored: Weigh by the cross-entropy, as the paper's code does, and not by the divergence; see `LandmarkMaps`.
        tolerance: Distance from its goal, in pixels of the map, up to which a landmark is where it shall be.
        generator: For a victim that draws.
        trace: Takes the highest pixels of the maps, `(n, K, nd)`, before the first step and after each.

    Returns:
        The result; `success` where all landmarks, moved and stationary, are within the tolerance.

    Raises:
        ConfigError: Points outside of the maps or of another shape, or what every attack refuses.
    """
    images = checked_images(images, victim.bounds)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    with frozen(victim.module), torch.no_grad():
        clean = victim(images, generator).float()
    goal = _wished(clean, points.to(clean), head, radius)
    loss = LandmarkMaps(head, adaptive, tolerance, floored, trace)
    attack = BIM(eps=eps, alpha=eps / 20 if alpha is None else alpha, steps=steps, targeted=True, loss=loss)
    return attack(victim, images, goal, generator)


def _wished(clean: Tensor, points: Tensor, head: Head, radius: float | None) -> Tensor:
    """Return the maps that the attacker wants: discs at the points, the clean map where there is none."""
    size = clean.shape[2:]
    if points.shape != (*clean.shape[:2], len(size)):
        wanted = (*clean.shape[:2], len(size))
        raise ConfigError(f"points: expected {wanted} for maps {tuple(clean.shape)}, got {tuple(points.shape)}")
    limit = torch.tensor(size[::-1], device=points.device) - 1
    stays = points.isnan().any(dim=2)
    outside = ((points < 0) | (points > limit)).any(dim=2)
    if bool(outside.any()):
        point = points[outside][0].tolist()
        raise ConfigError(f"points: {point} lies outside of the map of {list(size[::-1])} pixels")
    target = discs(points, size, max(_RADIUS * max(size), 1.0) if radius is None else radius)
    flat = clean.flatten(2)
    if head == "softmax":
        target = target / target.flatten(2).sum(dim=2).clamp_min(1e-12).reshape(*clean.shape[:2], *[1] * len(size))
        flat = flat.softmax(dim=2)
    elif head == "sigmoid":
        flat = flat.sigmoid()
    kept = flat.clamp(0, 1).reshape(clean.shape)
    return torch.where(stays.reshape(*stays.shape, *[1] * len(size)), kept, target)
