"""`medzoo biased-split`: a table whose splits have a chosen bias."""
