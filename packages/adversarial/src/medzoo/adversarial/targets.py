"""Which class an attack leads an image to."""

from __future__ import annotations

import torch
from torch import Tensor


def other_classes(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Return for each image another class than its own, drawn evenly: the other one of two."""
    step = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + step) % classes
