"""How one score of an image is made from its score map."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor

Rule = Literal["max", "p95", "mean"]
RULES: tuple[str, ...] = get_args(Rule)


def image_scores(maps: Tensor, rule: str) -> Tensor:
    """Return one score an image, `(B,)`, from maps `(B, H, W)`.

    Args:
        maps: Larger is more abnormal.
        rule: "max" is for small defects; "mean" for findings that change the whole image; "p95", the least value that
            95 % of the pixels do not exceed, for what lies between.
    """
    flat = maps.flatten(1)
    if rule == "max":
        return flat.amax(1)
    return flat.mean(1) if rule == "mean" else flat.sort(1).values[:, math.ceil(0.95 * flat.shape[1]) - 1]
