"""Elastic and affine deformation of images, labels and landmarks; names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
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
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"medzoo.core.ops.elastic_deform.{_HOME[name]}"), name)
    raise AttributeError(f"module 'medzoo.core.ops.elastic_deform' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
