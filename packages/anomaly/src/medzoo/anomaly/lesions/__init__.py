"""Synthetic lesions: shape, texture and insertion with all ranges in millimetres, drawn from one torch generator."""

from __future__ import annotations

from medzoo.anomaly.lesions.generator import PRESETS, LesionGenerator, Lesions
from medzoo.anomaly.lesions.shapes import ShapeRange, lesion_shape
from medzoo.anomaly.lesions.textures import TextureRange, filtered, salt, salt_probability

__all__ = [
    "PRESETS",
    "LesionGenerator",
    "Lesions",
    "ShapeRange",
    "TextureRange",
    "filtered",
    "lesion_shape",
    "salt",
    "salt_probability",
]
