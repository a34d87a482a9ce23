"""A method in two stages."""
