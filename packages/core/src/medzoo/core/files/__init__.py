"""`medzoo predict CKPT PATH …`: from files to answers, whatever data module a model was trained with."""
