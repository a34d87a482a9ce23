"""`medzoo convert A --to FORMAT -o B`: landmarks from one program to another; torch is not needed."""
