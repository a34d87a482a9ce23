"""`medzoo pack RUN -o DIR`: the weights of a run as a folder to share."""
