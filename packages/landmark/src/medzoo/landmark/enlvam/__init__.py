"""EnLVAM: the left ventricle measured in an anatomical M-mode image (arXiv 2506.22063)."""
