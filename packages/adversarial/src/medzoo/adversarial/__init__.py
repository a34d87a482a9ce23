"""Adversarial attacks and defences for medzoo."""
