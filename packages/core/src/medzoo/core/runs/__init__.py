"""A run on disk: its folder, checkpoints, results, and the callbacks that keep it truthful and resumable."""
