"""SSM: images are restored from what masks leave of them, and uncovered where that goes well."""
