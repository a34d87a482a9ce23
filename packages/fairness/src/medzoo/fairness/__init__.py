"""Fair medical-image classification and audits for medzoo."""
