"""IGU-Aug: information-guided pixel augmentation for pixel-wise contrastive learning (TMI 2024, arXiv 2211.07118)."""
