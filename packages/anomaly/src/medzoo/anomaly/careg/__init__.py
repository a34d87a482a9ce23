"""CAReg: category-agnostic registration of features, then statistics of a few normal images."""
