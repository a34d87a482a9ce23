"""Data for every task: files of a folder, splits, memory for decoded images, loaders that resume."""
