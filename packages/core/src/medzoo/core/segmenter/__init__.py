"""The plain segmentation method beside which others stand."""
