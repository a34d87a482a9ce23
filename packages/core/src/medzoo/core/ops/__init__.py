"""Tensor operators; each room is one operator with its backends, tests and benchmark."""
