"""The generator as a MONAI dictionary transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

from medzoo.anomaly.lesions.generator import PRESETS


class SyntheticLesionsd(Randomizable, MapTransform):
    """Adds synthetic lesions to `image` inside `organ_mask` and writes `lesion_mask`.

    Args:
        preset: Name in `PRESETS`.
        spacing: Millimetres per voxel along z, y, x.
        image_key: Volume `(1, D, H, W)` in [0, 1].
        organ_key: Mask `(1, D, H, W)`.
        lesion_key: Where the mask of lesions goes.

    Example:
        >>> transform = SyntheticLesionsd("lung", (4, 4, 4))
        >>> _ = transform.set_random_state(0)
        >>> volume = torch.full((1, 24, 24, 24), 0.1)
        >>> sample = transform({"image": volume, "organ_mask": torch.ones_like(volume)})
        >>> sample["lesion_mask"].shape
        torch.Size([1, 24, 24, 24])
    """

    def __init__(
        self,
        preset: str = "lung",
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        image_key: str = "image",
        organ_key: str = "organ_mask",
        lesion_key: str = "lesion_mask",
    ) -> None:
        super().__init__([image_key])
        if preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        self.lesions, self.spacing = PRESETS[preset], spacing
        self.image_key, self.organ_key, self.lesion_key = image_key, organ_key, lesion_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the sample with lesions."""
        out = dict(data)
        image, organ = out[self.image_key][0], out[self.organ_key][0] > 0
        generator = torch.Generator(image.device).manual_seed(int(self.R.randint(2**31 - 1)))
        made = self.lesions(image, organ, self.spacing, generator)
        out[self.image_key], out[self.lesion_key] = made.image[None], made.mask[None]
        return out
