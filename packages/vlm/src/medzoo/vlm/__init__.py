"""Vision-language zero-shot models for medzoo."""
