"""What moved landmarks do to a measure that a clinician reads off them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def anb(sella: Tensor, nasion: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the angle ANB = SNA − SNB in degrees, the relation of upper to lower jaw; about 2 in a normal bite.

    Args:
        sella: `(…, 2)` in isotropic units, as the others.
        nasion: Vertex of both angles.
        a: Point A (subspinale).
        b: Point B (supramentale).
    """
    return _angle(sella, nasion, a) - _angle(sella, nasion, b)


def cardiothoracic(points: Tensor) -> Tensor:
    """Return the width between the cardiophrenic angles by that between the costophrenic angles.

    The heart's own borders are no landmarks of the built-in chest: this stands for the cardiothoracic ratio.

    Args:
        points: `(…, 4, 2)` right costophrenic, right cardiophrenic, left costophrenic, left cardiophrenic angle.
    """
    widths = (points[..., 2:, :] - points[..., :2, :]).square().sum(dim=-1).sqrt()
    return widths[..., 1] / widths[..., 0]


def _angle(first: Tensor, vertex: Tensor, second: Tensor) -> Tensor:
    one, two = first - vertex, second - vertex
    cosine = (one * two).sum(dim=-1) / (one.square().sum(dim=-1) * two.square().sum(dim=-1)).sqrt()
    return torch.rad2deg(cosine.clamp(-1, 1).acos())


_NEEDS: dict[str, tuple[tuple[str, ...], Callable[[Tensor], Tensor]]] = {
    "ANB, degrees": (
        ("sella", "nasion", "subspinale", "supramentale"),
        lambda points: anb(*points.unbind(dim=-2)),
    ),
    "cardiothoracic ratio": (
        (
            "right costophrenic angle",
            "right cardiophrenic angle",
            "left costophrenic angle",
            "left cardiophrenic angle",
        ),
        cardiothoracic,
    ),
}


def measures(names: Sequence[str], points: Tensor) -> dict[str, Tensor]:
    """Return the measures that landmarks of these names allow, `(B,)` each.

    Args:
        names: Of the K landmarks.
        points: `(B, K, 2)` in isotropic units, such as mm.
    """
    found = {}
    for measure, (needed, rule) in _NEEDS.items():
        if set(needed) <= set(names):
            found[measure] = rule(points[:, [list(names).index(name) for name in needed]])
    return found
