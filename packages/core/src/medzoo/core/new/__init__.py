"""`medzoo new NAME`: a package of one's own that works at once, to be changed from there."""
