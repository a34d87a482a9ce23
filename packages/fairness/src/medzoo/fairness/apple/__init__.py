"""APPLE: a small perturbation of a frozen segmentation network's latent, against differences between groups."""
