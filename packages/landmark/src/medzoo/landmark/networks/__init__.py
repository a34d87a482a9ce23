"""Encoders, heat maps, their targets and their decoders, which several methods share."""
