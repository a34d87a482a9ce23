"""`medzoo audit`: anyone's predictions by group, without torch."""
