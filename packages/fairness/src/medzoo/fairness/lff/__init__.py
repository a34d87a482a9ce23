"""LfF: learn from what a biased network fails at."""
