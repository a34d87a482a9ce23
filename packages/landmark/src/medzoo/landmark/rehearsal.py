"""Rehearsal: a detector first learns from drawn radiographs, varied beyond what real ones show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError
from medzoo.core.phantoms import ANATOMIES, radiograph
from medzoo.core.sample import Batch
from medzoo.landmark.matching.patches import uniform
from medzoo.landmark.views import View

if TYPE_CHECKING:
    from medzoo.landmark.method import LandmarkMethod


def drawn_anatomy(landmarks: Sequence[str]) -> str | None:
    """Return the built-in anatomy that has landmarks of these names in this order, or None."""
    return next((name for name, anatomy in ANATOMIES.items() if anatomy.landmarks == tuple(landmarks)), None)


class Rehearsal:
    """Batches of drawn radiographs of an anatomy, so varied that a real one is likely to lie within their spread.

    Each is drawn anew, from torch's random numbers: cut out of the drawing with another frame and aspect, deformed and
    changed in intensity as a `View` of strength 1.5, clouded as if by disease and scatter.

    Args:
        anatomy: A key of `medzoo.core.phantoms.ANATOMIES`.
        size: Height and width of the images.
    """

    def __init__(self, anatomy: str, size: tuple[int, int]) -> None:
        self.anatomy, self.size = anatomy, size
        self._view = View(1.5)

    def __call__(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw images `(count, 1, H, W)` in [0, 1] and their landmarks `(count, K, 2)`, NaN where outside the image."""
        seeds = torch.randint(2**31, (count,)).tolist()
        drawn = [radiograph(self.anatomy, seed, self.size) for seed in seeds]
        image = torch.stack([torch.from_numpy(d.image)[None] for d in drawn])
        points = torch.stack([torch.from_numpy(d.landmarks).float() for d in drawn])
        image, moved = self._view(*_cut(image, points))
        assert moved is not None
        extent = moved.new_tensor([image.shape[-1], image.shape[-2]])
        outside = ((moved < -0.05 * extent) | (moved > 1.05 * extent)).any(dim=-1, keepdim=True)
        return _cloud(image), moved.masked_fill(outside, torch.nan)


def _cut(image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Fill images with windows whose borders lie up to 15 % outside, in black, to 12 % inside."""
    low = uniform((len(image), 2), -1.3, -0.76, image)  # in [-1, 1] over the image, as `affine_grid` counts
    high = uniform((len(image), 2), 0.76, 1.3, image)
    half, centre = (high - low) / 2, (high + low) / 2
    window = torch.cat([torch.diag_embed(half), centre[..., None]], dim=2)
    grid = F.affine_grid(window, list(image.shape), align_corners=False)
    extent = points.new_tensor([image.shape[-1], image.shape[-2]])
    placed = ((2 * points + 1) / extent - 1 - centre[:, None]) / half[:, None]
    return F.grid_sample(image, grid, align_corners=False), ((placed + 1) * extent - 1) / 2


def _cloud(image: Tensor) -> Tensor:
    """Add smooth fields of several widths, and bright opacities that hide what lies under them."""
    shape = (len(image), 1, 1, 1)
    for knots in (4, 8, 16):
        image = image + uniform(shape, 0, 0.08, image) * _smooth(image, knots)
    opacity = (_smooth(image, 6) + uniform(shape, -1.5, 0.3, image)).clamp(0, 1.2) * uniform(shape, 0, 0.5, image)
    return (image + opacity * (1 - image)).clamp(0, 1)


def _smooth(image: Tensor, knots: int) -> Tensor:
    field = torch.randn(len(image), 1, knots, knots, device=image.device)
    return F.interpolate(field, size=image.shape[-2:], mode="bicubic", align_corners=True)


class Rehearsals:
    """The drawn radiographs that the first part of a method's training is on.

    Args:
        method: A landmark method; `rehearsal` of its `hparams` is the share of the epochs.
    """

    def __init__(self, method: LandmarkMethod) -> None:
        self._method = method
        self.by_domain: dict[int, Rehearsal] = {}
        """By index, of the domains that can be drawn."""

    def prepare(self) -> None:
        """Find the domains that can be drawn, where the method rehearses at all, and name them.

        Never phantoms: their test images are drawn in the same way.

        Raises:
            ConfigError: The share is not from 0 to 1.
        """
        share = self._method.hparams.get("rehearsal", 0.0)
        if not 0 <= share <= 1:
            raise ConfigError(f"--model.rehearsal: expected a share from 0 to 1, got {share}")
        self.by_domain = {}
        for index, source in enumerate(self._method.data.sources if share else ()):
            anatomy = drawn_anatomy(source.domain.landmarks)
            if anatomy and source.on_disk:
                self.by_domain[index] = Rehearsal(anatomy, self._method.data.geometry.size)
                print_once(f"{source.domain.name}: the training begins with drawn radiographs of a {anatomy}")

    def __bool__(self) -> bool:
        return bool(self.by_domain)

    @property
    def share_done(self) -> float:
        """Share of the epochs of this training that came before the current one."""
        trainer = self._method.trainer
        steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)  # of an epoch
        return float(self._method.current_epoch * steps / trainer.estimated_stepping_batches)

    @property
    def running(self) -> bool:
        """Whether domains that can be drawn are, in this epoch."""
        return bool(self) and self.share_done < self._method.hparams["rehearsal"]

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Draw as many radiographs as a batch has, with their landmarks, while its domain is rehearsed."""
        domain = int(batch["domain"][0])
        if domain not in self.by_domain or not self.running:
            return None
        image, points = self.by_domain[domain](len(batch["image"]))
        return image.to(self._method.device), points.to(self._method.device)
