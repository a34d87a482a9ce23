"""PaDiM: a Gaussian a position over features of a fixed network."""
