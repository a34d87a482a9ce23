"""PatchCore: the distance to the nearest of a coreset of normal patch features."""
