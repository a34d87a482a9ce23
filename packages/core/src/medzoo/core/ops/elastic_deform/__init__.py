"""Elastic and affine deformation of images, labels and landmarks; names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.core.ops.elastic_deform.api import (
        backend_info,
        displacement_field,
        elastic_deform,
        jacobian_determinant,
        warp,
    )
    from medzoo.core.ops.elastic_deform.monai_transform import RandElasticDeformd
    from medzoo.core.ops.elastic_deform.points import Points, transform_points
    from medzoo.core.ops.elastic_deform.randomness import grid_from_sigma, knot_spacing, random_control, rms_from_alpha
    from medzoo.core.ops.elastic_deform.transform import RandomElasticDeform

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Points": "points",
        "RandElasticDeformd": "monai_transform",
        "RandomElasticDeform": "transform",
        "backend_info": "api",
        "displacement_field": "api",
        "elastic_deform": "api",
        "grid_from_sigma": "randomness",
        "jacobian_determinant": "api",
        "knot_spacing": "randomness",
        "random_control": "randomness",
        "rms_from_alpha": "randomness",
        "transform_points": "points",
        "warp": "api",
    },
)
__all__ = [
    "Points",
    "RandElasticDeformd",
    "RandomElasticDeform",
    "backend_info",
    "displacement_field",
    "elastic_deform",
    "grid_from_sigma",
    "jacobian_determinant",
    "knot_spacing",
    "random_control",
    "rms_from_alpha",
    "transform_points",
    "warp",
]
