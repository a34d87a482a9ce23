"""Finding points by comparing features with those of an annotated image."""
