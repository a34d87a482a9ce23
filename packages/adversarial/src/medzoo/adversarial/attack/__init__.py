"""`medzoo attack`: what a small change of the images does to any model of the zoo."""
