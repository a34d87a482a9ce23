"""LTML: adaptive negative regularisation and large-loss reconsideration for a long tail of noisy labels."""
