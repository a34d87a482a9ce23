"""Entropy of images at their own resolution, brought to the network's, as IGU-Aug's public code prepares it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medzoo.core.geometry import resample
from medzoo.core.sample import Batch
from medzoo.landmark.data.sources import Images
from medzoo.landmark.igu_aug.information import entropy_map


class OriginalEntropy:
    """Entropy maps of original images in the pixels of the network, each computed when it is first asked for.

    It is not the entropy of the resized image: resizing averages away the noise and the fine texture that it counts,
    and a disc of a few pixels covers less of the original.

    Args:
        radius: Radius of the neighbourhoods in pixels of the original images.
    """

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._known: dict[tuple[int, str], Tensor] = {}

    def __call__(self, images: Images, batch: Batch) -> Tensor:
        """Return the maps of a batch.

        Args:
            images: The original images of the batch's domain.
            batch: Images `(B, 1, H, W)` of one domain with their `id`, `domain` and `affine`, as the data have them.

        Returns:
            `(B, H, W)` in bits, on the device of the images; 0 where the network's image shows nothing of the original.
        """
        image, domain = batch["image"], int(batch["domain"][0])
        for name, affine in zip(batch["id"], batch["affine"], strict=True):
            if (domain, name) not in self._known:
                whole = torch.from_numpy(images.read(name).array.astype(np.float32)).to(image.device)
                # A value for each pixel of the network is enough.
                shrink = min(whole.shape[0] / image.shape[2], whole.shape[1] / image.shape[3])
                stride = max(1, 2 * int((shrink - 1) / 2) + 1)
                entropy = entropy_map(whole[None, None], self.radius, stride)[0].cpu()
                small = resample(entropy, affine.cpu(), (image.shape[3], image.shape[2]))
                self._known[domain, name] = small.half()  # bits to the second decimal, for all images of a run
        return torch.stack([self._known[domain, name] for name in batch["id"]]).to(image.device).float()
