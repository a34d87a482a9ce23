"""ECAMP: an image network that learns to rebuild radiographs and the words of their reports."""
