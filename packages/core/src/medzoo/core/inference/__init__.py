"""Networks on images larger than what they take at once."""
