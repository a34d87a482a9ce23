"""PBBL: pseudo bias labels from a network that learns the shortcut."""
