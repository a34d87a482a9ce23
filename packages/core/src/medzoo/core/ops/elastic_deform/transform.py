"""The operator as a random augmentation of a batch: image, mask, heatmap and landmarks move together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from medzoo.core.ops.elastic_deform import checks
from medzoo.core.ops.elastic_deform.api import elastic_deform
from medzoo.core.ops.elastic_deform.points import transform_points
from medzoo.core.ops.elastic_deform.randomness import random_control

SAMPLING: dict[str, tuple[int | str, str | float]] = {
    "image": (1, "border"),
    "mask": ("label", "border"),
    "heatmap": (1, "zeros"),
}
"""Order and padding of the keys that `RandomElasticDeform` warps unless told otherwise."""


@lru_cache(maxsize=8)
def _identity(nd: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.eye(nd, nd + 1, dtype=dtype)


class RandomElasticDeform(nn.Module):
    """Deform the samples of a batch, each by its own random spline field and affine map, in one interpolation.

    Tensors named in `sampling` are `(B, C, *S)` (a mask may lack C), `landmarks` are `(B, K, nd)` in the order x, y[,
    z] and pixels of the image; `visible (B, K)` loses the points that left the image. Other keys pass through. The
    result has a further key `deformation` that `replay` takes: a dict of tensors.

    Args:
        grid: Control points along each axis, one number or one an axis; `None` with `sigma`.
        max_displacement: As in `random_control`, in pixels; by default the largest that cannot fold.
        rms: As in `random_control`.
        sigma: As in `random_control`.
        locked_borders: As in `random_control`.
        rotation: Largest rotation in degrees (in 3-D about each axis).
        zoom: Range of magnification.
        translation: Largest shift in pixels along each axis.
        flip: Axes of the image, in tensor order from 0, that are mirrored with probability 1/2.
        p: Probability that a sample is deformed at all; the others come out bit for bit.
        same_on_batch: One deformation for the whole batch.
        out_size: Size of the output, centred on the input; that of the input if `None`.
        sampling: Order and padding by key, as in `elastic_deform`.

    Example:
        >>> augment = RandomElasticDeform(grid=6, rotation=10)
        >>> out = augment({"image": torch.rand(2, 1, 64, 64)}, torch.Generator().manual_seed(0))
        >>> out["image"].shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        grid: int | Sequence[int] | None = 7,
        *,
        max_displacement: float | Sequence[float] | None = None,
        rms: float | Sequence[float] | None = None,
        sigma: float | None = None,
        locked_borders: int = 0,
        rotation: float = 0.0,
        zoom: tuple[float, float] = (1.0, 1.0),
        translation: float = 0.0,
        flip: Sequence[int] = (),
        p: float = 1.0,
        same_on_batch: bool = False,
        out_size: Sequence[int] | None = None,
        sampling: Mapping[str, tuple[int | str, str | float]] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability, got {p}")
        if not 0 < zoom[0] <= zoom[1]:
            raise ValueError(f"zoom must be an increasing range of positive factors, got {zoom}")
        self.grid, self.max_displacement, self.rms, self.sigma = grid, max_displacement, rms, sigma
        self.locked_borders, self.rotation, self.zoom, self.translation = locked_borders, rotation, zoom, translation
        self.flip, self.p, self.same_on_batch, self.out_size = tuple(flip), p, same_on_batch, out_size
        self.sampling = dict(SAMPLING if sampling is None else sampling)

    def sample(self, batch: int, size: Sequence[int], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw the parameters for a batch of images of `size`.

        Args:
            batch: Number of samples.
            size: Size of the images, axes in tensor order.
            generator: CPU generator; the default one if `None`.

        Returns:
            `control (B, nd, *G)`, `affine (B, nd, nd + 1)` float64 and `applied (B,)` bool, on the CPU.
        """
        n, nd = 1 if self.same_on_batch else batch, len(size)
        frame = list(size if self.out_size is None else self.out_size)
        grid = [self.grid] * nd if isinstance(self.grid, int) else self.grid
        control = random_control(
            n,
            grid if self.sigma is None else None,
            frame,
            max_displacement=self.max_displacement,
            rms=self.rms,
            sigma=self.sigma,
            locked_borders=self.locked_borders,
            generator=generator,
        )
        affine = self._sample_affine(n, nd, generator)
        applied = torch.rand(n, generator=generator) < self.p
        if self.p < 1:
            control = control * applied.reshape(-1, 1, *[1] * nd)
            affine = torch.where(applied[:, None, None], affine, _identity(nd, affine.dtype))
        return {
            "control": control.expand(batch, *control.shape[1:]).contiguous(),
            "affine": affine.expand(batch, nd, nd + 1).contiguous(),
            "applied": applied.expand(batch).contiguous(),
        }

    def _sample_affine(self, n: int, nd: int, generator: torch.Generator | None) -> Tensor:
        """Draw `[M | τ]`; M takes output to input, so it shrinks where the image is magnified."""
        planes = [(0, 1)] if nd == 2 else [(1, 2), (0, 2), (0, 1)]
        u = torch.rand(n, len(planes) + 1 + 2 * nd, generator=generator, dtype=torch.float64)
        matrix = torch.eye(nd, dtype=torch.float64).repeat(n, 1, 1)
        if self.rotation:
            angles = (2 * u[:, : len(planes)] - 1) * math.radians(self.rotation)
            for cos, sin, (a, b) in zip(angles.cos().T, angles.sin().T, planes, strict=True):
                turn = torch.eye(nd, dtype=torch.float64).repeat(n, 1, 1)
                turn[:, a, a] = turn[:, b, b] = cos
                turn[:, a, b], turn[:, b, a] = -sin, sin
                matrix = matrix @ turn if len(planes) > 1 else turn
        low, high = (math.log(z) for z in self.zoom)
        if low or high:
            matrix = matrix * torch.exp(-(low + (high - low) * u[:, len(planes)]))[:, None, None]
        for axis in self.flip:
            matrix[:, axis] *= (1 - 2 * (u[:, len(planes) + 1 + axis] < 0.5))[:, None]
        shift = (2 * u[:, len(planes) + 1 + nd :] - 1) * self.translation
        return torch.cat([matrix, shift[:, :, None]], dim=2)

    def forward(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> dict[str, Any]:
        """Deform a batch by parameters drawn from `generator`; see the class."""
        image = self._reference(batch)
        return self.replay(batch, self.sample(image.shape[0], list(image.shape[2:]), generator))

    def _reference(self, batch: Mapping[str, Any]) -> Tensor:
        for key in self.sampling:
            if key in batch and batch[key].ndim >= 4:
                value: Tensor = batch[key]
                return value
        raise ValueError(
            f"batch has no tensor (B, C, *S) under {', '.join(self.sampling)}; its keys are {', '.join(batch)}"
        )

    def replay(self, batch: Mapping[str, Any], params: Mapping[str, Tensor]) -> dict[str, Any]:
        """Deform a batch by parameters that `sample` or an earlier result returned under `deformation`."""
        image = self._reference(batch)
        nd, size = image.ndim - 2, list(image.shape[2:])
        keys = [k for k in self.sampling if k in batch]
        tensors = [batch[k] if batch[k].ndim == image.ndim else batch[k].unsqueeze(1) for k in keys]
        control, affine = params["control"], params["affine"]
        # Where the parameters were moved to a device the question would wait for it; the identity then costs a little.
        still = affine.device.type == "cpu" and torch.equal(affine, _identity(nd, affine.dtype).expand(affine.shape))
        warped = elastic_deform(
            tensors,
            control,
            affine=None if still else affine,
            order=[self.sampling[k][0] for k in keys],
            padding=[self.sampling[k][1] for k in keys],
            out_size=self.out_size,
        )
        result = dict(batch)
        for key, value in zip(keys, warped, strict=True):
            result[key] = value if batch[key].ndim == image.ndim else value.squeeze(1)
        if "landmarks" in batch:
            landmarks: Tensor = batch["landmarks"]
            checks.check_batch(landmarks, image.shape[0], "landmarks")
            found = transform_points(
                landmarks.flip(-1),
                control,
                size,
                None if still else affine,
                out_size=self.out_size,
            )
            result["landmarks"] = found.points.flip(-1).to(landmarks.dtype)
            if "visible" in batch:
                result["visible"] = batch["visible"] & found.inside.to(batch["visible"].device)
        result["deformation"] = dict(params)
        return result
