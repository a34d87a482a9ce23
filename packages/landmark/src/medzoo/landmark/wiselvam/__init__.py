"""WiseLVAM: the scan line of EnLVAM placed by the contour of the left ventricle (arXiv 2508.12023), reconstructed."""
