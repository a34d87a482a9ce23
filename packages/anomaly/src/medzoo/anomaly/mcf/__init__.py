"""MCF: restores a record and its beats from what is left of them, and scores what it cannot restore."""
