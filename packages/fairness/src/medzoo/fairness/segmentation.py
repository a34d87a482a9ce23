"""Segmentation judged group by group, beside all that the task shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medzoo.core.metrics.group_figures import overlap_gaps
from medzoo.core.tasks.segmentation import SegmentationEvaluation

COMPARED = {"gap": "dice_gap", "worst": "worst_dice", "ser": "ser", "std_0": "dice_std_0", "essp": "essp"}
"""Comparisons of `overlap_gaps` in the results, and what they are called there."""


class GroupSegmentation(SegmentationEvaluation):
    """Judges masks, source by source and group by group.

    Args:
        group_names: Values of each sensitive attribute, in the order of their numbers.
        minimum: Images that a group needs to take part in a gap.
    """

    def __init__(self, group_names: Mapping[str, Sequence[str]], minimum: int = 2) -> None:
        super().__init__()
        self.group_names, self.minimum = dict(group_names), minimum

    def compute(self) -> dict[str, float]:
        """Return what the task shows, and `<source>/<attribute>/<figure>` of every sensitive attribute.

        A figure is `dice_gap`, `worst_dice`, `ser`, `dice_std_0` or `essp` (see `overlap_gaps`), or `dice/<group>`.
        What has no value is left out.
        """
        found = dict(super().compute())
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            rows = self.of(source)
            overlaps = np.array([row["dice"] for row in rows], dtype=np.float64)
            for attribute, names in self.group_names.items():
                codes = np.array([row.get(f"group_{attribute}", -1) for row in rows], dtype=np.int64)
                gaps = overlap_gaps(overlaps, codes, len(names), self.minimum)
                figures = {name: gaps[key] for key, name in COMPARED.items()}
                for code, name in enumerate(names):
                    own = overlaps[codes == code]
                    figures[f"dice/{name}"] = float(own.mean()) if len(own) else math.nan
                found |= {f"{source}/{attribute}/{key}": v for key, v in figures.items() if not math.isnan(v)}
        return found
