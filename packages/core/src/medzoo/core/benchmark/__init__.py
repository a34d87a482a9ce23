"""`medzoo benchmark`: registered models on data, several seeds each, compared with an earlier table."""
