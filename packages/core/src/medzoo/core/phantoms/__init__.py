"""Procedural images with exact annotations, seeded, any number, at any size."""

from medzoo.core.phantoms.radiographs import ANATOMIES, Anatomy, Phantom, radiograph

__all__ = ["ANATOMIES", "Anatomy", "Phantom", "radiograph"]
