"""JTT: train twice, the second time with more weight on what the first got wrong."""
