"""CC2D: cascade comparing to detect, one-shot landmark detection (MICCAI 2021, arXiv 2103.04527)."""
