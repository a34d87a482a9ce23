"""Data modules: CT volumes with organ masks, and images by category."""
