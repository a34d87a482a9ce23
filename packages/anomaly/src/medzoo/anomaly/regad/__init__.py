"""RegAD: a network that learned to register images of other categories compares a new one with a few normal images."""
