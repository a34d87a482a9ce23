"""Models of the package anomalib on medzoo's images and metrics."""
