"""UOD: universal one-shot detection of anatomical landmarks (MICCAI 2023, arXiv 2306.07615)."""
