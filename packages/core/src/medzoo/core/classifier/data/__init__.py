"""Data for classification: what all layouts share, folders, tables, arrays and phantoms."""
