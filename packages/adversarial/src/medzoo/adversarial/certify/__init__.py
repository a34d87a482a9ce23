"""`medzoo certify`: radii within which no change of an image moves the answer of a smoothed classifier."""
