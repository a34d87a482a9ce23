"""The usual baselines: one network, and a loss for groups or for rare classes."""
