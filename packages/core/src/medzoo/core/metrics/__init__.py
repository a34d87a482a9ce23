"""Metrics as properties of a data set and a model: not of batch size, order, workers or number of devices.

Conventions for the metrics of every package:

* A metric is a pure function of all predictions (tested on its own) plus a thin `torchmetrics.Metric` that keeps state.
* State is added with `dist_reduce_fx`: "sum" for counts and histograms, "cat" for lists. Lists hold ONE-dimensional
  tensors of the metric's dtype, flattened by `update`: with any other shape or type torchmetrics fails to gather when
  one of the processes saw no data.
* `compute()` returns a flat `dict[str, Tensor]` of scalars; sums run in float64; whatever depends on the order of
  samples (bootstrap, ties) sorts them by content first. Nothing seen gives NaN without a warning: derive from
  `DataSetMetric`.
* A metric is updated in the step and read once at the end of the epoch, on every process. Processes may hold different
  numbers of samples; the sampler must not pad. A mean of batch means is never reported.
* Tensors with one value per class or landmark come from `per_landmark()` and its like, never from `compute()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.core.metrics.anomaly import ImageAnomalyMetrics, PixelAnomalyMetrics, aupro, auroc, average_precision
    from medzoo.core.metrics.group_metrics import GroupMetrics, GroupRates
    from medzoo.core.metrics.landmark import LandmarkMetrics, landmark_scores, radial_errors, score_spearman
    from medzoo.core.metrics.segmentation import SegmentationMetrics, best_threshold, dice, quantile_threshold

__getattr__, __dir__ = lazy(
    __name__,
    {
        "GroupMetrics": "group_metrics",
        "GroupRates": "group_metrics",
        "ImageAnomalyMetrics": "anomaly",
        "LandmarkMetrics": "landmark",
        "PixelAnomalyMetrics": "anomaly",
        "SegmentationMetrics": "segmentation",
        "aupro": "anomaly",
        "auroc": "anomaly",
        "average_precision": "anomaly",
        "best_threshold": "segmentation",
        "dice": "segmentation",
        "landmark_scores": "landmark",
        "quantile_threshold": "segmentation",
        "radial_errors": "landmark",
        "score_spearman": "landmark",
    },
)
__all__ = [
    "GroupMetrics",
    "GroupRates",
    "ImageAnomalyMetrics",
    "LandmarkMetrics",
    "PixelAnomalyMetrics",
    "SegmentationMetrics",
    "aupro",
    "auroc",
    "average_precision",
    "best_threshold",
    "dice",
    "landmark_scores",
    "quantile_threshold",
    "radial_errors",
    "score_spearman",
]
