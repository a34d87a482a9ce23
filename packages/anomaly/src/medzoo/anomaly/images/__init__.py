"""Few-shot methods on images: what they share."""
