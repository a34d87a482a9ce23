r"""Estimates of what a code says of an image, $\hat I(x; z)$, and of how much codes vary, $\hat H(z)$.

The objective is $\max \hat I(x; z) - \lambda \hat H(z)$ over normal images (our reading of the paper's information
theoretic framework). Entropies are of the code plus Gaussian noise of a small deviation σ: that of a constant is
$-\infty$ without it, and every λ > 0 would end there. They are in nats a coordinate, so that λ does not depend
on the length of a code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NOISE = 0.1
"""σ, the deviation of the noise on a code."""
GREY = 0.1
"""Deviation of the Gaussian by which a restored value is judged, in grey levels of [0, 1]."""
NEAREST = 3
"""k of the entropy by nearest neighbours."""


def contrast(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    r"""Return InfoNCE $\log N + \mathrm{mean} \log \mathrm{softmax}$ in nats, at most the logarithm of N.

    N = 2 B − 1 are the codes that the partner of each is to be found among.

    Args:
        one: Codes of a first view of each image, `(B, L)`; their lengths do not count.
        other: Of a second view.
        temperature: By which cosines are divided.
    """
    codes = F.normalize(torch.cat([one, other]))
    logits = codes @ codes.T / temperature
    own = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    partner = torch.arange(len(codes), device=codes.device).roll(len(one))
    return math.log(len(codes) - 1) - F.cross_entropy(logits.masked_fill(own, -torch.inf), partner)


def likelihood(made: Tensor, image: Tensor) -> Tensor:
    r"""Return $-\mathrm{mean} (\hat x - x)^2 / 2 s^2$ of each image, `(B,)`, with $s$ = `GREY`.

    Up to constants the bound $I(x; z) \ge H(x) + E \log q(x | z)$ of Barber and Agakov (2003) with a Gaussian q, in
    nats a value of the image.

    Args:
        made: `(B, 3, H, W)` restored images.
        image: The images.
    """
    return -(made - image).square().flatten(1).mean(1) / (2 * GREY**2)


def gaussian_entropy(codes: Tensor, noise: float = NOISE) -> Tensor:
    r"""Return $\frac12 \log 2 \pi e (v + \sigma^2)$, v the mean square of a coordinate about its mean.

    No distribution with this v has more; an isotropic Gaussian has as much.

    Args:
        codes: `(N, L)`.
        noise: σ.
    """
    spread = (codes - codes.mean(0)).square().mean()
    return 0.5 * torch.log(2 * math.pi * math.e * (spread + noise**2))


def neighbour_entropy(codes: Tensor, noise: float = NOISE) -> Tensor:
    r"""Return $\mathrm{mean} \log \rho_k + (\log V_L + \psi(N) - \psi(k)) / L$ (Kozachenko and Leonenko, 1987).

    ρ is the distance to the k-th nearest other code, $\rho^2 + 2 L \sigma^2$ its square with the noise on both, and V
    the volume of the unit ball.

    Args:
        codes: `(N, L)`; of fewer than four the last neighbour is taken, and of one, which has none, the noise is left.
        noise: σ.
    """
    count, length = codes.shape
    if count == 1:
        return gaussian_entropy(codes, noise)
    nearest = min(NEAREST, count - 1)
    squares = neighbour_squares(codes, codes, nearest, own=True) + 2 * length * noise**2
    ball = 0.5 * length * math.log(math.pi) - math.lgamma(0.5 * length + 1)
    digamma = torch.digamma(codes.new_tensor([float(count), float(nearest)]))
    return 0.5 * torch.log(squares).mean() + (ball + digamma[0] - digamma[1]) / length


def neighbour_squares(codes: Tensor, among: Tensor, nearest: int, own: bool = False) -> Tensor:
    """Return the squared distance of each code to its k-th nearest, `(N,)`, whose gradient is finite at 0.

    Args:
        codes: `(N, L)`.
        among: `(M, L)`.
        nearest: k, at most M.
        own: The two are the same, and no code is a neighbour of itself.
    """
    # Differences, not products: those of near codes far from 0 would be lost in rounding.
    squares = torch.cdist(codes, among, compute_mode="donot_use_mm_for_euclid_dist").square()
    return squares.sort(dim=1).values[:, nearest if own else nearest - 1]


ENTROPIES = {"gaussian": gaussian_entropy, "neighbours": neighbour_entropy}
