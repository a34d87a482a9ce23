"""The ball that a perturbation stays in: projection, steepest step, random start, size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

from medzoo.adversarial.engine.draws import Source, normal, uniform

NormName = Literal["linf", "l2"]
_TINY = 1e-12


class Norm(ABC):
    """A norm of perturbations `(B, C, *S)`, sample by sample."""

    @abstractmethod
    def size(self, delta: Tensor) -> Tensor:
        """Return the norm of each sample, `(B,)`."""

    @abstractmethod
    def project(self, delta: Tensor, eps: float) -> Tensor:
        """Return the nearest perturbation of a norm up to `eps`."""

    @abstractmethod
    def steepest(self, slope: Tensor) -> Tensor:
        """Return the perturbation of norm 1 that raises a function of this gradient most."""

    @abstractmethod
    def random(self, like: Tensor, eps: float, source: Source) -> Tensor:
        """Return perturbations drawn uniformly from the ball."""


class Linf(Norm):
    """Largest change of a pixel."""

    def size(self, delta: Tensor) -> Tensor:
        """Return the largest absolute value."""
        return delta.flatten(1).abs().amax(dim=1)

    def project(self, delta: Tensor, eps: float) -> Tensor:
        """Clip to ±eps."""
        return delta.clamp(-eps, eps)

    def steepest(self, slope: Tensor) -> Tensor:
        """Return the sign."""
        return slope.sign()

    def random(self, like: Tensor, eps: float, source: Source) -> Tensor:
        """Draw each pixel from [−eps, eps]."""
        return (2 * uniform(like, source) - 1) * eps


class L2(Norm):
    """Euclidean length of the change."""

    def size(self, delta: Tensor) -> Tensor:
        """Return the root of the sum of squares."""
        return delta.flatten(1).square().sum(dim=1).sqrt()

    def project(self, delta: Tensor, eps: float) -> Tensor:
        """Shorten to eps where longer."""
        return delta * (eps / self.size(delta).clamp_min(_TINY)).clamp(max=1).reshape(per_sample(delta))

    def steepest(self, slope: Tensor) -> Tensor:
        """Return the gradient of length 1; zero where it is zero."""
        return slope / self.size(slope).clamp_min(_TINY).reshape(per_sample(slope))

    def random(self, like: Tensor, eps: float, source: Source) -> Tensor:
        """Draw a direction and a radius."""
        direction = self.steepest(normal(like, source))
        radius = uniform(like[:, :1].flatten(1)[:, :1], source)[:, 0] ** (1 / like[0].numel())
        return direction * (eps * radius).reshape(per_sample(like))


NORMS: dict[str, Norm] = {"linf": Linf(), "l2": L2()}


def per_sample(x: Tensor) -> tuple[int, ...]:
    """Return the shape in which `(B,)` values multiply `(B, C, *S)`."""
    return (-1,) + (1,) * (x.ndim - 1)
