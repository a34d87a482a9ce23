"""What NormNet learns from: healthy patches with synthetic lesions, and whole volumes to choose a threshold on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.anomaly.lesions.generator import LesionGenerator
from medzoo.anomaly.normnet.losses import labels
from medzoo.anomaly.normnet.segment import windowed
from medzoo.core.seeding import derive_seed


@dataclass(frozen=True)
class LesionExamples:
    """Inserts synthetic lesions.

    Attributes:
        generator: Of lesions.
        level: Brightness in the window from which voxels are classified.
        min_contribution: Part of the window that a lesion must add for a voxel to count as lesion.
        keep_vessels: A bright voxel inside a lesion is still normal.
        noise: Greatest standard deviation of noise, in parts of the window.
        thick: Share of patches whose slices are averaged as thick ones are.
    """

    generator: LesionGenerator
    level: float
    min_contribution: float
    keep_vessels: bool
    noise: float
    thick: float

    def __call__(
        self, healthy: Tensor, organ: Tensor, spacing: list[float], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return one patch with lesions, noisy and flipped, its labels (1 normal, 0 lesion), and where they count.

        Args:
            healthy: `(D, H, W)` in [0, 1].
            organ: `(D, H, W)` bool.
            spacing: Millimetres per voxel along z, y, x.
            generator: Of what is random.
        """
        made = self.generator(healthy, organ, spacing, generator)
        target = labels(healthy, made.contribution, self.level, self.min_contribution, self.keep_vessels)
        image = made.image
        draw = torch.rand(5, generator=generator, device=generator.device).tolist()
        if draw[0] < self.thick:
            image = _thick(image, 2 + int(draw[0] / max(self.thick, 1e-9) * 3))
        grain = torch.randn(image.shape, generator=generator, device=image.device)
        image = (image + self.noise * draw[1] * grain).clamp(0, 1) * organ
        flipped = [axis for axis in range(3) if draw[2 + axis] < 0.5]
        bright = organ & (image >= self.level)
        return image.flip(flipped), target.flip(flipped), bright.flip(flipped)

    def whole(self, hu: Tensor, organ: Tensor, spacing: list[float], number: int) -> tuple[Tensor, Tensor]:
        """Put lesions, the same in every epoch, into a healthy volume.

        Args:
            hu: `(D, H, W)` Hounsfield units.
            organ: `(D, H, W)` bool.
            spacing: Millimetres per voxel along z, y, x.
            number: Of the volume, which decides on its lesions.

        Returns:
            The volume in Hounsfield units, and where a lesion makes it abnormal, bool.
        """
        generator = torch.Generator().manual_seed(derive_seed(number, 7))
        certain = type(self.generator)(**{**vars(self.generator), "none": 0.0})
        made = certain(windowed(hu) * organ, organ, spacing, generator)
        spoiled = torch.where(made.contribution != 0, made.image * 900 - 800, hu)
        truth = labels(windowed(hu), made.contribution, self.level, self.min_contribution, keep_vessels=False) == 0
        return spoiled, truth


def _thick(image: Tensor, count: int) -> Tensor:
    """Average each `count` slices and interpolate back, as a volume of thick slices resampled to thin ones looks."""
    depth, *plane = image.shape
    thick = F.avg_pool3d(image[None, None], (count, 1, 1), ceil_mode=True, count_include_pad=False)
    # The last thick slice may reach beyond the patch, and every one covers `count` thin ones.
    whole = [count * thick.shape[2], *plane]
    return F.interpolate(thick, whole, mode="trilinear", align_corners=False)[0, 0, :depth]
