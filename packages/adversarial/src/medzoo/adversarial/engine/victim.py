"""The model under attack, as a function of images in stated bounds; normalisation lies inside of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medzoo.adversarial.engine.draws import Source, parts
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.sample import Batch

Before = Callable[[Tensor, torch.Generator], Tensor]
"""A pre-processing in image space, such as a defence; all that is random in it comes from the generator."""


class Victim:
    """A model that takes images `(B, C, *S)` in `bounds` and returns a tensor with a row an image.

    Args:
        model: A module or any differentiable function of normalised images.
        mean: Subtracted from the images, one value or one a channel, in the unit of the images.
        std: Divided by afterwards, likewise.
        bounds: Lowest and highest value of an image, such as `(0, 1)`, or `(-1000, 400)` for windowed Hounsfield units.
        module: What is put into evaluation mode and restored; `model` itself where that is a module.
        before: Applied to the images before the normalisation; see `bpda` where it has no useful gradient.
        draws: Times that a randomised victim is asked for each gradient and each judgement (expectation over
            transformation); 1 for one that answers the same every time.

    Raises:
        ConfigError: Bounds that are no range, or a `std` of zero.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        bounds: tuple[float, float] = (0.0, 1.0),
        module: nn.Module | None = None,
        before: Before | None = None,
        draws: int = 1,
    ) -> None:
        if not bounds[0] < bounds[1]:
            raise ConfigError(f"bounds: expected lowest < highest, got {bounds[0]:g} and {bounds[1]:g}")
        if draws < 1:
            raise ConfigError(f"draws: expected at least 1, got {draws}")
        self.mean, self.std = torch.as_tensor(mean).float().reshape(-1), torch.as_tensor(std).float().reshape(-1)
        if bool((self.std <= 0).any()):
            raise ConfigError(f"std: expected values above 0, got {self.std.tolist()}")
        self.model, self.bounds, self.before, self.draws = model, bounds, before, draws
        self.module = model if module is None and isinstance(model, nn.Module) else module

    def __call__(self, images: Tensor, generator: Source) -> Tensor:
        """Return the outputs `(B, …)` of one draw, with gradients to the images.

        Raises:
            ConfigError: The model did not return a tensor with a row an image.
        """
        if self.before is not None:
            images = torch.cat([self.before(part, own) for part, own in parts(images, generator)])
        outputs: Any = self.model(self._normalised(images))
        if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(images):
            got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ConfigError(f"victim: expected a tensor with {len(images)} rows, one an image, got {got}")
        return outputs

    def at(self, rows: Tensor) -> Victim:
        """Return the victim for some images of a batch; one that knows nothing but the images stays as it is.

        Args:
            rows: `(b,)` int64 places in the batch.
        """
        del rows
        return self

    def _normalised(self, images: Tensor) -> Tensor:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if len(value) not in (1, images.shape[1]):
                raise ConfigError(f"{name}: expected 1 or {images.shape[1]} values, one a channel, got {len(value)}")
        if bool((self.mean == 0).all()) and bool((self.std == 1).all()):
            return images
        shape = (1, -1) + (1,) * (images.ndim - 2)
        return (images - self.mean.to(images).reshape(shape)) / self.std.to(images).reshape(shape)


class MethodVictim(Victim):
    """A method of the zoo with one batch: its images are varied, all else in the batch stays.

    Args:
        method: Its `outputs(batch)` is differentiated.
        batch: As the data module made it, with the images in `image`.
        pick: Takes the tensor to attack from the outputs, such as `lambda outputs: outputs.maps`.
        bounds: Lowest and highest value of the batch's images.
        before: See `Victim`.
        draws: See `Victim`.
    """

    def __init__(
        self,
        method: Method,
        batch: Batch,
        pick: Callable[[Any], Tensor],
        *,
        bounds: tuple[float, float] = (0.0, 1.0),
        before: Before | None = None,
        draws: int = 1,
    ) -> None:
        super().__init__(self._outputs, bounds=bounds, module=method, before=before, draws=draws)
        self.method, self.batch, self.pick = method, batch, pick

    def at(self, rows: Tensor) -> MethodVictim:
        """Return the victim for some samples of the batch."""
        places = rows.tolist()
        batch = {
            key: value[rows.to(value.device)] if isinstance(value, Tensor) else [value[place] for place in places]
            for key, value in self.batch.items()
        }
        return MethodVictim(self.method, batch, self.pick, bounds=self.bounds, before=self.before, draws=self.draws)

    def _outputs(self, images: Tensor) -> Tensor:
        return self.pick(self.method.outputs(self.batch | {"image": images}))


def bpda(forward: Callable[[Tensor], Tensor], surrogate: Callable[[Tensor], Tensor] | None = None) -> Before:
    """Return a pre-processing whose gradient is that of another function (backward pass differentiable approximation).

    Args:
        forward: What is applied, such as JPEG compression or rounding; it may lack gradients.
        surrogate: A smooth function with outputs of the same shape whose gradient is taken; None takes the identity.
    """

    def applied(images: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        smooth = images if surrogate is None else surrogate(images)
        with torch.no_grad():
            rest = forward(images) - smooth
        return smooth + rest

    return applied
