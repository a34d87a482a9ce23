"""`medzoo evaluate` and `medzoo compare`: figures of anybody's predictions from files alone, without torch."""
