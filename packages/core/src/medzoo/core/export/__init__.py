"""`medzoo export X`: a trained model as one graph, from the image to the answer, that runs without medzoo."""
